//! Certificates for the lab and for tests: one authority, one certificate per party.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::durable;
use crate::identity::Identity;
use crate::net::TlsFiles;

/// A freshly made authority that lives in memory; its key is never written.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// Makes an authority and writes its certificate to `directory/authority.pem`.
    pub fn create(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "Continuum authority");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        durable::write_atomic(&directory.join("authority.pem"), certificate.pem().as_bytes())?;
        Ok(Self { issuer: Issuer::new(params, key), directory: directory.to_owned() })
    }

    /// Issues a certificate for `identity` and writes it and its key beside the authority's.
    pub fn issue(&self, identity: &Identity) -> io::Result<TlsFiles> {
        let mut params =
            CertificateParams::new(vec![identity.dns_name()]).map_err(io::Error::other)?;
        params.distinguished_name.push(rcgen::DnType::CommonName, identity.to_string());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let stem = format!("{}-{}", identity.role.label(), identity.name);
        let files = TlsFiles {
            authority: self.directory.join("authority.pem"),
            certificate: self.directory.join(format!("{stem}.pem")),
            key: self.directory.join(format!("{stem}.key")),
        };
        durable::write_atomic(&files.certificate, certificate.pem().as_bytes())?;
        durable::write_atomic(&files.key, key.serialize_pem().as_bytes())?;
        Ok(files)
    }
}
