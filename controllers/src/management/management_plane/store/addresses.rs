//! Where the controllers reach the members of etcd, and where these reach each other (no client required).

use std::collections::BTreeMap;
use std::path::Path;

use kplane_crds::v1alpha1::ManagementPlane;

use crate::Error;
use crate::etcd::Member;
use crate::management::management_plane::build::{
    MOST, ServiceAddresses, client_address, host_and_port, member, peer_address,
};

/// Other addresses than the names that members have in the cluster: for controllers outside of it, and where there is no
/// DNS.
#[derive(Clone, Debug, Default)]
pub struct Addresses(BTreeMap<String, String>);

impl Addresses {
    /// Reads them from a file, if one is named and there: a JSON object of `HOST:PORT` by `HOST:PORT`.
    pub fn read(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::File { path: path.display().to_string(), error }),
        }
    }

    /// Reaches members at the addresses of their Services, unless the file says where.
    #[must_use]
    pub fn with_services(mut self, plane: &ManagementPlane, services: &ServiceAddresses) -> Self {
        for (index, address) in &services.members {
            let here = self.0.entry(client_address(plane, *index));
            here.or_insert_with(|| host_and_port(address, 2379));
        }
        self
    }

    fn url(&self, address: String) -> String {
        format!("https://{}", self.0.get(&address).unwrap_or(&address))
    }

    /// Where a member serves clients.
    pub fn client(&self, plane: &ManagementPlane, index: i32) -> String {
        self.url(client_address(plane, index))
    }

    /// Where a member serves the others.
    pub fn peer(&self, plane: &ManagementPlane, index: i32) -> String {
        self.url(peer_address(plane, index))
    }

    /// Which of ours a member is.
    pub fn index(&self, plane: &ManagementPlane, found: &Member) -> Option<i32> {
        (0..MOST).find(|at| match found.started {
            true => found.name == member(*at),
            false => found.peer == self.peer(plane, *at),
        })
    }
}
