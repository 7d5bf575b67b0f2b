//! A TLS client with or without a certificate of its own, which trusts the server's as Go's clients do: as a root, under
//! the first name in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, request, sha256};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate with its key, made by its holder.
pub(crate) struct Identity {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) fingerprint: String,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let mut described = CertificateParams::default();
        described.distinguished_name = DistinguishedName::new();
        described.distinguished_name.push(DnType::CommonName, name);
        Self::of(&described)
    }

    pub(crate) fn of(described: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let made = described.clone().self_signed(&key).unwrap();
        let der = made.der().to_vec();
        Self { fingerprint: sha256(&der), pem: made.pem(), der, key: key.serialize_der() }
    }
}

/// Somebody who speaks LXD's protocol.
pub(crate) struct Client {
    address: String,
    config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(server: &Server, identity: Option<&Identity>) -> Self {
        Self::tuned(server, identity, rustls::ALL_VERSIONS, &[])
    }

    /// The same with these versions of TLS, and these protocols on offer.
    pub(crate) fn tuned(
        server: &Server,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.dir.join("keys/tls.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
                let key = provider.key_provider.load_private_key(key).unwrap();
                // Not looked at on this side: some would be refused here, and are sent by other libraries.
                let own = CertifiedKey::new(vec![identity.der.clone().into()], key);
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self { address: server.secure.clone().unwrap(), config: Arc::new(config) }
    }

    pub(crate) fn connect(&self) -> Stream {
        self.connect_on(TcpStream::connect(&self.address).unwrap())
    }

    pub(crate) fn connect_on(&self, socket: TcpStream) -> Stream {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&request(&self.address, method, path, headers, body)).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer, method == "HEAD")
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, &[("User-Agent", "LXD 5.0.2 (Linux; x86_64)")], body.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Value::Null)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &Value::Null)
    }

    /// What an answer that went well has to say.
    pub(crate) fn read(&self, path: &str) -> Value {
        metadata(&self.get(path))
    }

    /// Waits for the operation that an answer tells of, and returns it as it ended.
    pub(crate) fn ended(&self, answer: &Answer) -> Value {
        assert_eq!(answer.status, 202, "{answer:?}");
        self.read(&format!("{}/wait", answer.json()["operation"].as_str().unwrap()))
    }

    /// Imports an image and returns its fingerprint.
    pub(crate) fn import(&self, bytes: &[u8], headers: &[(&str, &str)]) -> String {
        let ended = self.ended(&self.raw("POST", "/1.0/images", headers, bytes));
        assert_eq!(ended["status_code"], 200, "{ended}");
        ended["metadata"]["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Whether the server says that it trusts this one.
    pub(crate) fn is_trusted(&self) -> bool {
        match self.read("/1.0")["auth"].as_str().unwrap() {
            "trusted" => true,
            "untrusted" => false,
            other => panic!("{other}"),
        }
    }

    /// Makes this one trusted with an account's keys.
    pub(crate) fn log_in(&self, keys: &str) {
        let answer = self.send("POST", "/1.0/certificates", &json!({ "type": "client", "password": keys }));
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// What an answer that went well has to say.
pub(crate) fn metadata(answer: &Answer) -> Value {
    let envelope = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let words = (&envelope["type"], &envelope["status"], &envelope["status_code"]);
    assert_eq!(words, (&json!("sync"), &json!("Success"), &json!(200)), "{answer:?}");
    assert!(envelope.get("error").is_none(), "an empty error would be taken for one");
    envelope["metadata"].clone()
}

/// The text of an error with this status.
pub(crate) fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let envelope = answer.json();
    let words = (&envelope["type"], &envelope["error_code"], &envelope["metadata"]);
    assert_eq!(words, (&json!("error"), &json!(status), &Value::Null), "{answer:?}");
    envelope["error"].as_str().unwrap().to_owned()
}

/// A server with the accounts alice, bob and root (an administrator), whose keys are as LXD's clients send them.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) alice: String,
    pub(crate) bob: String,
    pub(crate) root: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With this in its `visor.toml`.
    pub(crate) fn configured(text: &str) -> Self {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        Self::with(&["--config", config.path().to_str().unwrap()])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let server = Server::secure(arguments);
        let keys = |name: &str, more: &[&str]| {
            let made = server.account(name, more);
            format!("{}:{}", made["access_key"].as_str().unwrap(), made["secret_key"].as_str().unwrap())
        };
        let (alice, bob, root) = (keys("alice", &[]), keys("bob", &[]), keys("root", &["--admin"]));
        Self { server, alice, bob, root }
    }

    pub(crate) fn stranger(&self) -> Client {
        Client::new(&self.server, None)
    }

    /// Somebody with a certificate that nobody knows.
    pub(crate) fn newcomer(&self, name: &str) -> (Client, Identity) {
        let identity = Identity::new(name);
        (Client::new(&self.server, Some(&identity)), identity)
    }

    /// Somebody with a certificate that stands for an account.
    pub(crate) fn trusted(&self, keys: &str) -> Client {
        let (client, _) = self.newcomer("laptop");
        client.log_in(keys);
        client
    }
}
