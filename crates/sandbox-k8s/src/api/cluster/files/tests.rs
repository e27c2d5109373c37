use super::*;

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn read(text: impl AsRef<[u8]>) -> Result<Kubeconfig, ReadError> {
    let directory = tempfile::tempdir().unwrap();
    read_file(&write(directory.path(), "config", text))
}

fn error(text: &str) -> String {
    match read(text) {
        Err(ReadError::Unusable(reason)) => reason,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn files_of_a_list_are_merged_and_the_first_wins() {
    let directory = tempfile::tempdir().unwrap();
    let text = |context: &str, server: &str| {
        format!(
            "current-context: {context}\ncontexts: [{{name: {context}}}]\n\
             clusters: [{{name: c, cluster: {{server: {server}}}}}]\n"
        )
    };
    let none = write(directory.path(), "none", "current-context: ''\n");
    let empty = write(directory.path(), "empty", "");
    let one = write(directory.path(), "one", text("one", "https://one"));
    let two = write(directory.path(), "two", text("two", "https://two"));
    let missing = directory.path().join("missing");
    for list in [
        [&missing, &one, &two, &empty],
        [&one, &missing, &empty, &two],
        [&none, &empty, &one, &two],
    ] {
        let merged = read_list(&list.map(Clone::clone)).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        assert_eq!(merged.contexts.len(), 2);
        let cluster = merged.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://one"));
    }
    assert!(matches!(
        read_list(&[missing.clone(), missing]),
        Err(ReadError::Missing(_))
    ));
    // Another file than a missing one is not skipped.
    for unusable in ["{", "\0\u{1}", "[]"] {
        let bad = write(directory.path(), "bad", unusable);
        assert!(matches!(
            read_list(&[one.clone(), bad]),
            Err(ReadError::Unusable(_))
        ));
    }
    assert!(matches!(
        read_list(&[directory.path().to_owned(), one]),
        Err(ReadError::Unusable(_))
    ));
}

#[test]
fn paths_are_relative_to_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = "
clusters: [{name: c, cluster: {certificate-authority: ca.crt}}]
users:
- name: u
  user: {client-certificate: pki/u.crt, client-key: ../u.key, tokenFile: /run/token}
- name: path
  user: {exec: {command: ./bin/login}}
- name: bare
  user: {exec: {command: login}}
- name: empty
  user: {client-certificate: '', client-key: '', tokenFile: ''}
";
    let file = read_file(&write(directory.path(), "config", text)).unwrap();
    let at = |name: &str| Some(directory.path().join(name).to_str().unwrap().to_owned());
    let user = |index: usize| file.auth_infos[index].auth_info.clone().unwrap();
    let command = |index: usize| user(index).exec.unwrap().command;
    assert_eq!(
        file.clusters[0]
            .cluster
            .as_ref()
            .unwrap()
            .certificate_authority,
        at("ca.crt")
    );
    assert_eq!(user(0).client_certificate, at("pki/u.crt"));
    assert_eq!(user(0).client_key, at("../u.key"));
    assert_eq!(user(0).token_file.as_deref(), Some("/run/token"));
    assert_eq!(command(1), at("bin/login"));
    assert_eq!(command(2).as_deref(), Some("login"));
    assert_eq!(
        (
            user(3).client_certificate,
            user(3).client_key,
            user(3).token_file
        ),
        (None, None, None)
    );
}

#[test]
fn an_empty_value_is_not_set() {
    let text = "
current-context: ''
clusters: [{name: c, cluster: {server: https://c, certificate-authority-data: '', tls-server-name: '', proxy-url: ''}}]
contexts: [{name: x, context: {cluster: c, user: '', namespace: ''}}]
users: [{name: u, user: {token: '', username: '', password: '', as: '', client-key-data: ''}}]
";
    let file = read(text).unwrap();
    assert_eq!(file.current_context, None);
    let cluster = file.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(
        (
            &cluster.certificate_authority_data,
            &cluster.tls_server_name
        ),
        (&None, &None)
    );
    assert_eq!(cluster.proxy_url, None);
    let context = file.contexts[0].context.as_ref().unwrap();
    assert_eq!((&context.user, &context.namespace), (&None, &None));
    let user = file.auth_infos[0].auth_info.as_ref().unwrap();
    assert!(user.token.is_none() && user.password.is_none() && user.client_key_data.is_none());
    assert_eq!((&user.username, &user.impersonate), (&None, &None));
}

#[test]
fn names_that_are_used_twice_are_refused() {
    for kind in ["clusters", "users", "contexts"] {
        let text = format!("{kind}: [{{name: a}}, {{name: b}}, {{name: a}}]");
        assert!(error(&text).contains(&format!("two {kind} with the name a;")));
    }
    assert!(read("clusters: [{name: a}]\nusers: [{name: a}]\ncontexts: [{name: a}]").is_ok());
}

#[test]
fn text_of_other_encodings_is_read() {
    let text = "current-context: ä\n";
    let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
        let units = text.encode_utf16().flat_map(bytes);
        mark.into_iter().chain(units).collect::<Vec<u8>>()
    };
    for bytes in [
        text.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        utf16([0xFF, 0xFE], u16::to_le_bytes),
        utf16([0xFE, 0xFF], u16::to_be_bytes),
    ] {
        assert_eq!(read(bytes).unwrap().current_context.as_deref(), Some("ä"));
    }
    for bytes in [&b"\xFF\xFEa"[..], b"a: \xE4"] {
        assert!(matches!(read(bytes), Err(ReadError::Unusable(_))));
    }
}

#[test]
fn an_error_of_the_parser_has_the_place_and_not_the_content() {
    for text in [
        "users: secret-token",
        "users:\n- name: u\n  user: secret-token\n",
        "secret-token",
        "a: [secret-token",
    ] {
        let error = error(text);
        assert!(
            error.contains("no valid kubeconfig") && !error.contains("secret"),
            "{error}"
        );
    }
}
