//! An [`Access`] for unit tests, here and above: with given keys, without files.

use std::time::Duration;

use actix_web::test::TestRequest;

use super::{
    access::{Access, Visit},
    keyring::Keyring,
    links::LinkSigner,
};
use crate::config::{Config, Environment};

/// With these keys, and settings in TOML.
pub(crate) fn access(ring: Keyring, settings: &str) -> Access {
    let config = Config::from_toml(settings, &Environment::default()).unwrap();
    let links = LinkSigner::new(b"a secret of tests", Duration::from_hours(1)).unwrap();
    Access::with(ring, links, &config)
}

/// A visitor from 127.0.0.1 that is no page.
pub(crate) fn visit(access: &Access) -> Visit {
    let request = TestRequest::default().peer_addr(([127, 0, 0, 1], 1).into()).to_http_request();
    let origin = access.page(&request).unwrap();
    access.visit(&request, &origin).unwrap()
}
