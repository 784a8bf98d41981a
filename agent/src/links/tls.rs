//! Who may speak with whom between agents: TLS 1.3, both sides prove a raw public key (RFC 7250) that the other has
//! pinned. There are no certificates, no authorities, no tickets, and no clock is read.
//!
//! Every machine's key follows from the network's key and the machine's name, so whoever holds the network's key works
//! out all keys that may come. Which machine has come in is told by its key, never by what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use hobnail_core::ids::Name;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring::{cipher_suite as suite, default_provider, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig,
    SignatureScheme, version::TLS13,
};

/// What both sides must speak above TLS.
const PROTOCOL: &[u8] = b"hobnail/1";
/// The one thing that a PKCS#8 document of an Ed25519 seed holds beside the seed (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// A public key as it stands in a handshake: a SubjectPublicKeyInfo.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(Box<[u8]>);

/// Our own key, and the keys of those who may speak with us.
#[derive(Debug)]
pub struct Pins {
    ours: Arc<CertifiedKey>,
    names: BTreeMap<PublicKey, Name>,
    provider: Arc<CryptoProvider>,
    door: Arc<ServerConfig>,
}

#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    #[error("there is no key for links")]
    NoKey,
    #[error("failed to make a key for links: {0}")]
    Unfit(#[from] Error),
}

impl Pins {
    /// Pin the keys of `others`. `seeds` gives those of a machine, one for each key of the network that counts, the one
    /// to show first.
    pub fn new<'a, S: Deref<Target = [u8; 32]>>(
        me: &Name,
        others: impl IntoIterator<Item = &'a Name>,
        seeds: impl Fn(&Name) -> Vec<S>,
    ) -> Result<Self, PinsError> {
        let key = signing_key(seeds(me).first().ok_or(PinsError::NoKey)?)?;
        let shown = CertificateDer::from(public_key(&*key)?.0.into_vec());
        let mut names = BTreeMap::new();
        for name in others {
            for seed in seeds(name) {
                names.insert(public_key(&*signing_key(&seed)?)?, name.clone());
            }
        }
        let ours = Arc::new(CertifiedKey::new(vec![shown], key));
        let provider = Arc::new(provider());
        let door = for_door(&ours, &names, &provider)?;
        Ok(Self { ours, names, provider, door })
    }

    /// Who has shown this key in a handshake.
    #[must_use]
    pub fn name_of(&self, shown: Option<&[CertificateDer<'_>]>) -> Option<(&Name, &PublicKey)> {
        let key = PublicKey(shown?.first()?.as_ref().into());
        self.names.get_key_value(&key).map(|(key, name)| (name, key))
    }

    /// Whether `key` still is one of `name`'s.
    #[must_use]
    pub fn holds(&self, name: &Name, key: &PublicKey) -> bool {
        self.names.get(key) == Some(name)
    }

    /// For a door: let in everyone who is pinned.
    #[must_use]
    pub fn for_door(&self) -> Arc<ServerConfig> {
        self.door.clone()
    }

    /// For a dial: speak with `to` and nobody else.
    pub fn for_dial(&self, to: &Name) -> Result<Arc<ClientConfig>, Error> {
        let theirs = self.names.iter().filter(|(_, name)| *name == to).map(|(key, _)| key.clone());
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(theirs.collect())))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.ours.clone())));
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.time_provider = Arc::new(NoClock);
        Ok(Arc::new(config))
    }
}

fn for_door(
    ours: &Arc<CertifiedKey>,
    names: &BTreeMap<PublicKey, Name>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let everyone = Pinned::new(names.keys().cloned().collect());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(everyone))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(ours.clone())));
    // Ours is the better judge only where we are the slower one: see `provider`.
    config.ignore_client_order = !has_aes();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.time_provider = Arc::new(NoClock);
    Ok(Arc::new(config))
}

/// What rustls asks for where names are checked; here keys are, and it is not sent.
#[must_use]
pub fn any_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn signing_key(seed: &[u8; 32]) -> Result<Arc<dyn SigningKey>, Error> {
    let mut document = zeroize::Zeroizing::new([0; PKCS8_HEAD.len() + 32]);
    let (head, secret) = document.split_at_mut(PKCS8_HEAD.len());
    head.copy_from_slice(&PKCS8_HEAD);
    secret.copy_from_slice(seed);
    any_eddsa_type(&PrivatePkcs8KeyDer::from(document.as_slice()))
}

fn public_key(key: &dyn SigningKey) -> Result<PublicKey, Error> {
    let info = key.public_key().ok_or(Error::General("a key without its public half".into()))?;
    Ok(PublicKey(info.as_ref().into()))
}

/// AES only where the processor has instructions for it: without them it is several times slower than ChaCha20.
fn provider() -> CryptoProvider {
    let mut suites = vec![suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256];
    if !has_aes() {
        suites.reverse();
    }
    CryptoProvider { cipher_suites: suites, ..default_provider() }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    return false;
}

/// No certificate means no dates, and these machines may believe that it is 1970.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Takes these keys and no other, on either side of a handshake.
#[derive(Debug)]
struct Pinned {
    keys: BTreeSet<PublicKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(keys: BTreeSet<PublicKey>) -> Self {
        Self { keys, algorithms: default_provider().signature_verification_algorithms }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        if self.keys.contains(&PublicKey(shown.as_ref().into())) {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

/// Below TLS 1.3, which no side offers.
fn too_old() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
