//! Reads the host's network.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher as _},
};

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{
    Host, HostError,
    address_message::{decode_address, dump_addresses},
    exchange::Exchange,
    link_message::{decode_link, dump_links},
    neighbour_message::{decode_our_neighbour, dump_neighbours},
    route_message::{decode_route, dump_routes},
    session::{DUMP_ATTEMPTS, DUMP_BACKOFF, NetlinkError, Session},
};
use crate::model::{self, HostView, KernelRoute, Setting};

/// The families whose routes are read.
const FAMILIES: [(AddressFamily, model::AddressFamily); 2] =
    [(AddressFamily::Inet, model::AddressFamily::V4), (AddressFamily::Inet6, model::AddressFamily::V6)];

impl Host {
    /// Links, addresses, routes of the main table and sysctls, as they are now; what routers have told, and
    /// which neighbours do not answer, the caller fills in. Each table is consistent in itself; what changes between the tables is told by [`super::HostWatch`].
    ///
    /// # Errors
    ///
    /// If a table cannot be read, or does not stop changing.
    pub async fn observe(&self) -> Result<HostView, HostError> {
        Ok(HostView { routes: read_routes(&mut exchange()?).await?, ..self.observe_all_but_routes().await? })
    }

    /// A digest of the main table, of both families: as long as it stays the same, so does the table.
    ///
    /// # Errors
    ///
    /// If a table cannot be read, or does not stop changing.
    pub async fn routes_digest(&self) -> Result<u64, HostError> {
        let mut exchange = exchange()?;
        let mut digest = DefaultHasher::new();
        for (number, _) in FAMILIES {
            match exchange.digest(&dump_routes(number), &mut digest) {
                // The kernel makes a table when its first route comes.
                Ok(()) | Err(NetlinkError::Refused { errno: Errno::ENOENT, .. }) => {}
                Err(reason) => return Err(HostError::Read { table: "routes", reason }),
            }
        }
        Ok(digest.finish())
    }

    /// The same as [`Self::observe`], without the routes.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn observe_all_but_routes(&self) -> Result<HostView, HostError> {
        let session = Session::open()?;
        let links = read(&session, "links", dump_links()).await?;
        let addresses = read(&session, "addresses", dump_addresses()).await?;
        let neighbours = read(&session, "neighbours", dump_neighbours()).await?;
        let forwarding_v6 =
            self.sysctls.has_ipv6().then(|| self.sysctls.is_met(&Setting::ForwardingV6)).transpose()?;
        Ok(HostView {
            links: links.iter().filter_map(decode_link).collect(),
            addresses: addresses.iter().filter_map(decode_address).collect(),
            routes: Vec::new(),
            neighbours: neighbours.iter().filter_map(decode_our_neighbour).collect(),
            forwarding_v4: self.sysctls.is_met(&Setting::ForwardingV4)?,
            forwarding_v6,
            reverse_path_all: self.sysctls.reverse_path_all()?,
            path_mtus: BTreeMap::new(),
            failed_neighbours: BTreeSet::new(),
        })
    }
}

fn exchange() -> Result<Exchange, HostError> {
    Exchange::open().map_err(HostError::Socket)
}

/// The main table, of both families.
pub(super) async fn read_routes(exchange: &mut Exchange) -> Result<Vec<KernelRoute>, HostError> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        match read_family(exchange, family, &mut routes).await {
            // The kernel makes a table when its first route comes.
            Ok(()) | Err(NetlinkError::Refused { errno: Errno::ENOENT, .. }) => {}
            Err(reason) => return Err(HostError::Read { table: "routes", reason }),
        }
    }
    routes.shrink_to_fit();
    Ok(routes)
}

/// Adds the routes of a family; again if they changed meanwhile.
async fn read_family(
    exchange: &mut Exchange,
    (number, family): (AddressFamily, model::AddressFamily),
    routes: &mut Vec<KernelRoute>,
) -> Result<(), NetlinkError> {
    let before = routes.len();
    for attempt in 1..=DUMP_ATTEMPTS {
        let read = exchange.dump(dump_routes(number), |message| {
            // A kernel without a family answers for all the others.
            let of_family = |route: &KernelRoute| route.destination.family() == family;
            routes.extend(decode_route(&message).filter(of_family));
        });
        if read != Err(NetlinkError::Interrupted) {
            return read;
        }
        routes.truncate(before);
        tokio::time::sleep(DUMP_BACKOFF * attempt).await;
    }
    Err(NetlinkError::Interrupted)
}

async fn read(
    session: &Session,
    table: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, HostError> {
    session.dump(request).await.map_err(|reason| HostError::Read { table, reason })
}
