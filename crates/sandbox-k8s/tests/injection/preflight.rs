//! The checks of a cluster before a server is uploaded.

use sandbox_core::{SandboxBackend, Verdict};
use sandbox_k8s::options::{Architecture, ServerPrograms};
use sandbox_testkit::apiserver::ApiServer;

use crate::{backend, spec};

#[tokio::test]
async fn the_permission_to_upload_is_checked_only_for_uploads() {
    let server = ApiServer::new("boxes");
    server.forbid("create pods/exec");
    for image in [None, Some("localhost/sandbox-sshd:1")] {
        let backend = backend(&server, |options| {
            options.server_image = image.map(str::to_owned);
            options.server_programs =
                ServerPrograms::default().with_loader(Architecture::Arm64, || Ok(Vec::new()));
        });
        let checks = backend.preflight(spec().1).await;
        let find = |name: &str| checks.iter().find(|check| check.name == name);
        let (denied, allowed) = (find("create pods/exec"), find("get pods/exec"));
        if image.is_some() {
            assert!(denied.is_none() && allowed.is_none(), "{checks:#?}");
            assert!(find("server to upload").is_none());
            continue;
        }
        assert_eq!(allowed.unwrap().verdict, Verdict::Passed);
        assert_eq!(denied.unwrap().verdict, Verdict::Failed);
        let remedy = denied.unwrap().remedy.as_deref().unwrap();
        for part in ["-n boxes -f deploy/upload.yaml", "SANDBOX_SERVER_IMAGE"] {
            assert!(remedy.contains(part), "{remedy}");
        }
        assert_eq!(find("server to upload").unwrap().detail, "arm64");
    }
}
