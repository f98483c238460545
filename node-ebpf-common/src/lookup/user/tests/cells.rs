//! Cells in memory that look at what readers see, at every store.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    vec,
    vec::Vec,
};

use crate::{Cell, Cells, Found, GracePeriod, LOOKUP_CELLS, LOOKUP_ROOTS, Route, look_up};

/// What an address leads to.
pub(super) type Answer = Option<Route>;

/// The memory, which outlives each writer.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) cells: Vec<u16>,
    /// Addresses that are looked up at each store that may concern them, by their /16, and the answers that are right:
    /// the one from before the change and the one from after it.
    probes: BTreeMap<u32, Vec<Probe>>,
    /// Readers that have begun and may go on at any time, until a grace period.
    paused: Vec<Paused>,
    /// Stores still to come until the writer "ends": later ones are lost.
    pub(super) stores_left: Option<usize>,
    pub(super) stores: usize,
    pub(super) grace_periods: usize,
    pub(super) refuses_grace_periods: bool,
}

struct Probe {
    address: u32,
    right: [Answer; 2],
}

/// A reader that holds a chunk's number.
struct Paused {
    address: u32,
    chunk: u32,
    /// Which byte of the address is next.
    next: usize,
    right: Vec<Answer>,
}

impl Memory {
    pub(super) fn cell(&self, chunk: u32, place: u8) -> Cell {
        Cell(self.cells.get(index(chunk, place)).copied().unwrap_or_default())
    }

    pub(super) fn look_up(&self, address: u32) -> Found {
        look_up(address.to_be_bytes(), |chunk, place| self.cell(chunk, place))
    }

    pub(super) fn write(&mut self, chunk: u32, place: u8, cell: u16) {
        self.cells[index(chunk, place)] = cell;
    }

    /// Every chunk that a cell leads to.
    pub(super) fn children(&self) -> BTreeSet<u32> {
        let children = |chunk: u32| {
            (0..=u8::MAX).filter_map(move |place| {
                self.cell(chunk, place).child().filter(|child| *child >= LOOKUP_ROOTS)
            })
        };
        let of_roots: BTreeSet<u32> = (0..LOOKUP_ROOTS).flat_map(children).collect();
        of_roots.iter().copied().chain(of_roots.iter().copied().flat_map(children)).collect()
    }

    /// The cells that a lookup reads.
    pub(super) fn way(&self, address: u32) -> impl Iterator<Item = (u32, u8)> {
        let read = RefCell::new(Vec::new());
        look_up(address.to_be_bytes(), |chunk, place| {
            read.borrow_mut().push((chunk, place));
            self.cell(chunk, place)
        });
        read.into_inner().into_iter()
    }

    /// From now on these addresses have one of these answers, at every store.
    pub(super) fn expect(&mut self, answers: &[(u32, [Answer; 2])]) {
        self.probes.clear();
        let new: BTreeMap<u32, Answer> = answers.iter().map(|(address, [_, new])| (*address, *new)).collect();
        for (address, right) in answers {
            let probe = Probe { address: *address, right: *right };
            self.probes.entry(*address >> 16).or_default().push(probe);
        }
        self.paused.retain(|paused| new.contains_key(&paused.address));
        for paused in &mut self.paused {
            paused.right.push(new[&paused.address]);
        }
    }

    pub(super) fn forget_readers(&mut self) {
        self.probes.clear();
        self.paused.clear();
    }

    fn check(&self, chunk: u32, place: u8) {
        let concerned = if chunk < LOOKUP_ROOTS {
            let number = chunk << 8 | u32::from(place);
            self.probes.range(number..=number)
        } else {
            self.probes.range(..)
        };
        for probe in concerned.flat_map(|(_, probes)| probes) {
            let found = self.look_up(probe.address);
            assert!(is_right(found, &probe.right), "{:#x}: {found:?}, not {:?}", probe.address, probe.right);
        }
        for paused in self.paused.iter().filter(|_| chunk >= LOOKUP_ROOTS) {
            let found = paused.go_on(self);
            let Paused { address, right, .. } = paused;
            assert!(is_right(found, right), "{address:#x}, begun before: {found:?}, not {right:?}");
        }
    }

    /// Lets a reader begin, and pause wherever it holds a chunk.
    fn begin_reader(&mut self) {
        let probes: Vec<&Probe> = self.probes.values().flatten().collect();
        if probes.is_empty() || self.paused.len() >= 64 || !self.stores.is_multiple_of(7) {
            return;
        }
        let Probe { address, right } = probes[self.stores / 7 % probes.len()];
        let bytes = address.to_be_bytes();
        let mut begun = Vec::new();
        let mut cell = self.cell(u32::from(bytes[0]), bytes[1]);
        for next in [2, 3] {
            let Some(chunk) = cell.child() else { break };
            begun.push(Paused { address: *address, chunk, next, right: right.to_vec() });
            cell = self.cell(chunk, bytes[next]);
        }
        self.paused.append(&mut begun);
    }
}

impl Paused {
    fn go_on(&self, memory: &Memory) -> Found {
        let bytes = self.address.to_be_bytes();
        let mut cell = memory.cell(self.chunk, bytes[self.next]);
        if let Some(chunk) = cell.child().filter(|_| self.next == 2) {
            cell = memory.cell(chunk, bytes[3]);
        }
        if cell.child().is_some() { Found::AskTrie } else { cell.found() }
    }
}

/// The trie is written first: what it says is always right.
fn is_right(found: Found, right: &[Answer]) -> bool {
    match found {
        Found::AskTrie => true,
        Found::NoRoute => right.contains(&None),
        Found::Route(route) => right.contains(&Some(route)),
    }
}

fn index(chunk: u32, place: u8) -> usize {
    chunk as usize * LOOKUP_CELLS + usize::from(place)
}

/// A handle to the memory: what a writer has.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Rc<RefCell<Memory>>);

impl Shared {
    pub(super) fn new(chunks: u32) -> Self {
        let cells = vec![0; chunks as usize * LOOKUP_CELLS];
        Self(Rc::new(RefCell::new(Memory { cells, ..Memory::default() })))
    }
}

impl Cells for Shared {
    fn chunks(&self) -> u32 {
        u32::try_from(self.0.borrow().cells.len() / LOOKUP_CELLS).unwrap()
    }

    fn load(&self, chunk: u32, place: u8) -> Cell {
        self.0.borrow().cell(chunk, place)
    }

    fn store(&mut self, chunk: u32, place: u8, cell: Cell) {
        let memory = &mut *self.0.borrow_mut();
        match &mut memory.stores_left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        memory.stores += 1;
        memory.begin_reader();
        memory.cells[index(chunk, place)] = cell.0;
        memory.check(chunk, place);
    }
}

impl GracePeriod for Shared {
    fn wait(&mut self) -> bool {
        let memory = &mut *self.0.borrow_mut();
        if memory.refuses_grace_periods {
            return false;
        }
        memory.grace_periods += 1;
        memory.paused.clear();
        true
    }
}
