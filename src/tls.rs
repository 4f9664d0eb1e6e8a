//! The certificate that HTTPS is served with, replaced without dropping a connection.
//!
//! Promises: TLS 1.2 and 1.3 with ring's ciphers; HTTP/1.1 is all that is offered, since websockets come by it; a new
//! certificate serves from the next handshake on; one that cannot be read leaves the last good one in use.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use crate::config::Tls;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{file}: {source}")]
    Pem { file: String, source: pem::Error },
    #[error("{file}: has no certificate in it")]
    NoCertificate { file: String },
    #[error("{certificate} and {key}: {source}")]
    Pair { certificate: String, key: String, source: rustls::Error },
}

/// The files and what they hold now.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = Arc::new(Current(RwLock::new(read(files, &provider)?)));
        Ok(Self { files: files.clone(), provider, current })
    }

    /// The files to look at for changes.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.files.certificate, &self.files.key]
    }

    /// Takes the files as they are now.
    ///
    /// # Errors
    /// [`TlsError`]; the certificate is as it was then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let certificate = read(&self.files, &self.provider)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
        Ok(())
    }

    /// # Errors
    /// Never, with the versions below; the library has no other signature.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&versions)?.with_no_client_auth();
        Ok(builder.with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(files: &Tls, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let name = |path: &Path| path.display().to_string();
    let bad_pem = |path: &Path| {
        let file = name(path);
        move |source| TlsError::Pem { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(bad_pem(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: name(&files.certificate) });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(bad_pem(&files.key))?;
    // Also that they belong together.
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Pair {
        certificate: name(&files.certificate),
        key: name(&files.key),
        source,
    })?;
    Ok(Arc::new(pair))
}
