//! `sandbox doctor --gateway`, against a gateway that is a process of its own.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::{Cli, code, stdout};

/// `sandbox serve`, which ends with the test.
struct Serve {
    process: Child,
    url: String,
}

impl Serve {
    fn start(cli: &Cli, options: &[&str]) -> Self {
        let mut command = cli.command(["serve", "--listen", "127.0.0.1:0", "--keys"]);
        let mut process = command
            .arg(cli.path("keys"))
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the gateway has ended");
            };
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.to_owned();
            }
        };
        // It must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Adds a key to the file of the gateway, and writes it to one of its own.
fn add_key(cli: &Cli) -> String {
    let keys = cli.path("keys");
    let key = cli.expect_ok([
        "serve",
        "keys",
        "add",
        "ada",
        "--keys",
        keys.to_str().unwrap(),
    ]);
    std::fs::write(cli.path("key"), &key).unwrap();
    key.trim().to_owned()
}

#[test]
fn a_gateway_is_checked_with_a_key_from_a_variable_or_a_file() {
    let cli = Cli::new();
    let key = add_key(&cli);
    let gateway = Serve::start(&cli, &[]);
    let report = cli
        .command(["doctor", "--try", "--gateway", &gateway.url])
        .env("E2B_API_KEY", &key)
        .output()
        .unwrap();
    assert_eq!(code(&report), 0, "{}", stdout(&report));
    for line in [
        "pass  health",
        "pass  key",
        "pass  a command",
        "pass  its end",
    ] {
        assert!(stdout(&report).contains(line), "{}", stdout(&report));
    }
    assert!(cli.list_ids().is_empty());

    let file = cli.path("key");
    let args = ["doctor", "--gateway", &gateway.url, "--key-file"];
    let report = cli.command(args).arg(&file).output().unwrap();
    let text = stdout(&report);
    assert!(code(&report) == 0 && text.contains("pass  key"), "{text}");
    assert!(text.contains("skip  a sandbox: use --try"), "{text}");

    // The file of the gateway has hashes, and more than one word.
    let report = cli.command(args).arg(cli.path("keys")).output().unwrap();
    let text = stdout(&report);
    assert!(code(&report) == 1 && text.contains("FAIL  key"), "{text}");
    let report = cli
        .command(["doctor", "--gateway", "sbx.test"])
        .output()
        .unwrap();
    let text = stdout(&report);
    assert!(
        code(&report) == 1 && text.contains("FAIL  address"),
        "{text}"
    );
}

#[test]
fn a_certificate_is_checked_as_other_programs_check_it() {
    let cli = Cli::new();
    let key = add_key(&cli);
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let private = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&private, &authority).unwrap();
    let file = |name: &str, content: String| {
        let path = cli.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, private, authority) = (
        file("cert.pem", certificate.pem()),
        file("key.pem", private.serialize_pem()),
        file("authority.pem", authority.pem()),
    );
    let gateway = Serve::start(&cli, &["--tls-cert", &certificate, "--tls-key", &private]);
    assert!(
        gateway.url.starts_with("https://127.0.0.1:"),
        "{}",
        gateway.url
    );
    let check = |url: &str, trusted: &str| {
        let report = cli
            .command(["doctor", "--gateway", url])
            .env("E2B_API_KEY", &key)
            .env("SSL_CERT_FILE", trusted)
            .output()
            .unwrap();
        (code(&report), stdout(&report))
    };
    let (status, text) = check(&gateway.url, &authority);
    assert_eq!(status, 0, "{text}");
    for line in ["pass  TLS", "HTTP/2", "pass  key"] {
        assert!(text.contains(line), "{text}");
    }
    // Authorities that are not trusted, of the same name and of another, a name that is not in it, and no TLS.
    for name in ["rcgen self signed cert", "another authority"] {
        let mut other = CertificateParams::default();
        other.distinguished_name.push(DnType::CommonName, name);
        let other = other.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (status, text) = check(&gateway.url, &file("other.pem", other.pem()));
        assert_eq!(status, 1, "{text}");
        assert!(
            text.contains("FAIL  TLS") && text.contains("SSL_CERT_FILE"),
            "{text}"
        );
    }
    let by_name = gateway.url.replace("127.0.0.1", "localhost");
    let (status, text) = check(&by_name, &authority);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("FAIL  TLS") && text.contains("host name"),
        "{text}"
    );
    let (status, text) = check(&gateway.url.replace("https", "http"), &authority);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("FAIL  health") && text.contains("https://"),
        "{text}"
    );
    let plain = Serve::start(&cli, &[]);
    let (status, text) = check(&plain.url.replace("http", "https"), &authority);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("FAIL  TLS") && text.contains("http://"),
        "{text}"
    );
}
