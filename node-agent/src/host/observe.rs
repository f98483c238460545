//! Reads the host's network.

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{
    Host, HostError,
    address_message::{decode_address, dump_addresses},
    link_message::{decode_link, dump_links},
    route_message::{decode_route, dump_routes},
    session::{NetlinkError, Session},
};
use crate::model::{HostView, KernelRoute, Setting};

/// The families whose routes are read.
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

impl Host {
    /// Links, addresses, routes of the main table and sysctls, as they are now. Each table is consistent in
    /// itself; what changes between the tables is told by [`super::HostWatch`].
    ///
    /// # Errors
    ///
    /// If a table cannot be read, or does not stop changing.
    pub async fn observe(&self) -> Result<HostView, HostError> {
        let session = Session::open()?;
        let links = read(&session, "links", dump_links()).await?;
        let addresses = read(&session, "addresses", dump_addresses()).await?;
        Ok(HostView {
            links: links.iter().filter_map(decode_link).collect(),
            addresses: addresses.iter().filter_map(decode_address).collect(),
            routes: read_routes(&session).await?,
            forwarding_v4: self.sysctls.is_on(&Setting::ForwardingV4)?,
        })
    }
}

/// The main table, of both families.
pub(super) async fn read_routes(session: &Session) -> Result<Vec<KernelRoute>, HostError> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        let messages = match session.dump(dump_routes(family)).await {
            Ok(messages) => messages,
            // The kernel makes a table when its first route comes.
            Err(NetlinkError::Refused { errno: Errno::ENOENT, .. }) => continue,
            Err(reason) => return Err(HostError::Read { table: "routes", reason }),
        };
        // A kernel without a family answers for all the others.
        let of_family = |route: &KernelRoute| route.destination.is_v4() == (family == AddressFamily::Inet);
        routes.extend(messages.iter().filter_map(decode_route).filter(of_family));
    }
    Ok(routes)
}

async fn read(
    session: &Session,
    table: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, HostError> {
    session.dump(request).await.map_err(|reason| HostError::Read { table, reason })
}
