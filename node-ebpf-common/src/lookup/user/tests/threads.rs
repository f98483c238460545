//! A real reader, at the same time as the writer.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
    vec::Vec,
};

use ipnet::Ipv4Net;

use crate::{Cell, Cells, Found, GracePeriod, LOOKUP_ROOTS, LookupWriter, Route, look_up};

const CHUNKS: u32 = LOOKUP_ROOTS + 24;

#[derive(Clone)]
struct Shared(Arc<Table>);

struct Table {
    cells: Vec<AtomicU16>,
    lookups: AtomicU64,
    ended: AtomicBool,
}

impl Cells for Shared {
    fn chunks(&self) -> u32 {
        CHUNKS
    }

    fn load(&self, chunk: u32, place: u8) -> Cell {
        Cell(self.0.cells[chunk as usize * 256 + usize::from(place)].load(Ordering::Acquire))
    }

    fn store(&mut self, chunk: u32, place: u8, cell: Cell) {
        self.0.cells[chunk as usize * 256 + usize::from(place)].store(cell.0, Ordering::Release);
    }
}

impl GracePeriod for Shared {
    /// The lookup after the one that runs now has begun.
    fn wait(&mut self) -> bool {
        let seen = self.0.lookups.load(Ordering::SeqCst);
        while self.0.lookups.load(Ordering::SeqCst) < seen + 2 && !self.0.ended.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        true
    }
}

fn prefix(bytes: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from_octets(bytes), length).unwrap().trunc()
}

/// Prefixes that never change are found all the time, while others around and within them come and go and the chunks
/// are used again and again.
#[test]
fn what_does_not_change_is_always_found() {
    let cells = (0..CHUNKS as usize * 256).map(|_| AtomicU16::new(0)).collect();
    let table = Table { cells, lookups: AtomicU64::new(0), ended: AtomicBool::new(false) };
    let shared = Shared(Arc::new(table));
    let stable = [([10, 0, 0, 0], 15, 1), ([10, 1, 7, 0], 24, 2), ([10, 1, 7, 9], 32, 3)];
    let stable =
        stable.map(|(bytes, length, next_hop)| (prefix(bytes, length), Route { next_hop, flags: 0 }));
    let addresses = [([10, 0, 200, 200], 1), ([10, 1, 7, 200], 2), ([10, 1, 7, 9], 3), ([10, 1, 200, 8], 1)];
    let mut writer = LookupWriter::start(shared.clone(), shared.clone(), stable);
    let reader = thread::spawn({
        let shared = shared.clone();
        move || {
            let mut wrong = Vec::new();
            while !shared.0.ended.load(Ordering::SeqCst) {
                for (address, next_hop) in addresses {
                    let found = look_up(address, |chunk, place| shared.load(chunk, place));
                    shared.0.lookups.fetch_add(1, Ordering::SeqCst);
                    if found != Found::Route(Route { next_hop, flags: 0 }) {
                        wrong.push((address, found));
                    }
                }
            }
            wrong
        }
    });
    let mut random = 20_261_125_u32;
    for _ in 0..100_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, third, fourth, kind] = random.to_be_bytes();
        // Around the stable ones, or within them where nobody looks.
        let changing = match kind % 5 {
            0 => prefix([10, 0, 0, 0], 8 + third % 7),
            1 => prefix([10, 0, third % 8, 0], 17 + fourth % 8),
            2 => prefix([10, 1, 8 + third % 8, fourth], 25 + kind / 5 % 8),
            3 => prefix([10, 1, 7, 10 + fourth % 100], 32),
            _ => prefix([10, 0, third % 4, fourth % 100], 32),
        };
        if random & 0x80 == 0 {
            writer.set(changing, Route { next_hop: 100, flags: 0 });
        } else {
            writer.remove(changing);
        }
    }
    shared.0.ended.store(true, Ordering::SeqCst);
    let wrong = reader.join().unwrap();
    assert!(wrong.is_empty(), "{} wrong answers, such as {:?}", wrong.len(), wrong[0]);
    assert!(shared.0.lookups.load(Ordering::SeqCst) > 1_000, "the reader has hardly run");
}
