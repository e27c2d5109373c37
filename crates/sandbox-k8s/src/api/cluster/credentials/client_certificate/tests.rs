use super::*;

const ONE: &str = include_str!("testdata/one.crt");
const ONE_KEY: &str = include_str!("testdata/one.key");
const ONE_KEY_SEC1: &str = include_str!("testdata/one.sec1.key");
const ONE_KEY_ENCRYPTED: &str = include_str!("testdata/one.encrypted.key");
const TWO: &str = include_str!("testdata/two.crt");
const TWO_KEY: &str = include_str!("testdata/two.key");

fn encode(pem: &str) -> String {
    let encoded = serde_json::to_value(ByteString(pem.into())).unwrap();
    encoded.as_str().unwrap().to_owned()
}

fn read(auth: &AuthInfo) -> Result<ClientCertificate, CredentialError> {
    crate::api::cluster::install_crypto_provider();
    ClientCertificate::read(auth)
}

fn inline(certificate: &str, key: &str) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(encode(certificate)),
        client_key_data: Some(encode(key).into()),
        ..AuthInfo::default()
    }
}

fn presented(certificate: &ClientCertificate) -> Vec<u8> {
    certificate.resolve(&[], &[]).unwrap().cert[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn inline_certificates_are_read() {
    for key in [ONE_KEY, ONE_KEY_SEC1] {
        assert_eq!(presented(&read(&inline(ONE, key)).unwrap()), der(ONE));
    }
    // Base64 may be wrapped, and the certificate may be followed by those of its issuers.
    let mut wrapped = inline(&format!("{ONE}{TWO}"), ONE_KEY);
    let data = wrapped.client_certificate_data.take().unwrap();
    let (first, rest) = data.split_at(64);
    wrapped.client_certificate_data = Some(format!("{first}\n{rest}\n"));
    let read = read(&wrapped).unwrap();
    assert_eq!(read.resolve(&[], &[]).unwrap().cert.len(), 2);
}

#[test]
fn a_user_without_a_certificate_has_none() {
    let none = read(&AuthInfo::default()).unwrap();
    assert!(!none.is_configured() && !none.has_certs());
    // A credential program may return one, and another one later.
    none.replace(ONE, ONE_KEY).unwrap();
    assert_eq!((presented(&none), none.generation()), (der(ONE), 1));
    none.replace(ONE, ONE_KEY).unwrap();
    assert_eq!(none.generation(), 1);
    none.replace(TWO, TWO_KEY).unwrap();
    assert_eq!((presented(&none), none.generation()), (der(TWO), 2));
    assert!(none.replace(ONE, TWO_KEY).is_err());
    assert_eq!((presented(&none), none.generation()), (der(TWO), 2));
}

#[test]
fn replaced_files_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("crt"), directory.path().join("key"));
    let write = |path: &PathBuf, text: &str| fs::write(path, text).unwrap();
    write(&certificate, ONE);
    write(&key, ONE_KEY);
    let text = |path: &PathBuf| Some(path.to_str().unwrap().to_owned());
    let read = read(&AuthInfo {
        client_certificate: text(&certificate),
        client_key: text(&key),
        ..AuthInfo::default()
    })
    .unwrap();
    assert_eq!((presented(&read), read.generation()), (der(ONE), 0));
    // While only one of the files is new, the last pair stays.
    write(&certificate, TWO);
    read.reload();
    assert_eq!((presented(&read), read.generation()), (der(ONE), 0));
    write(&key, TWO_KEY);
    read.reload_if_due();
    assert_eq!(read.generation(), 0, "the files were just read");
    read.reload();
    assert_eq!((presented(&read), read.generation()), (der(TWO), 1));
    fs::remove_file(&key).unwrap();
    read.reload();
    assert_eq!((presented(&read), read.generation()), (der(TWO), 1));
}

#[test]
fn unusable_certificates_are_refused_without_the_key() {
    let file = |path: &str| AuthInfo {
        client_certificate: Some(path.into()),
        client_key_data: Some(encode(ONE_KEY).into()),
        ..AuthInfo::default()
    };
    let mut not_base64 = inline(ONE, ONE_KEY);
    not_base64.client_key_data = Some("!hidden!".to_owned().into());
    let only = |auth: AuthInfo, has_key: bool| AuthInfo {
        client_key_data: auth.client_key_data.filter(|_| has_key),
        client_certificate_data: auth.client_certificate_data.filter(|_| !has_key),
        ..AuthInfo::default()
    };
    for (auth, expected) in [
        (inline(ONE, TWO_KEY), "cannot be used: "),
        (inline("nothing", ONE_KEY), "there is no certificate in it"),
        (inline(ONE, "nothing"), "no unencrypted private key"),
        (inline(ONE, ONE_KEY_ENCRYPTED), "no unencrypted private key"),
        (
            not_base64,
            "client-key-data of the kubeconfig is not base64",
        ),
        (file("/nonexistent/crt"), "/nonexistent/crt"),
        (
            only(inline(ONE, ONE_KEY), true),
            "a client-key but no client-certificate",
        ),
        (
            only(inline(ONE, ONE_KEY), false),
            "a client-certificate but no client-key",
        ),
    ] {
        let error = read(&auth).err().unwrap().to_string();
        assert!(
            error.contains(expected) && !error.contains("hidden"),
            "{expected}: {error}"
        );
    }
}
