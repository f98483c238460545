//! Just enough of an assembler for programs of a dozen instructions (RFC 9669): so small that what they cost is known.

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(u8);

/// Result of a call and of the program; may be overwritten by calls.
pub const R0: Register = Register(0);
/// First argument: at the start the context.
pub const R1: Register = Register(1);
/// Second argument.
pub const R2: Register = Register(2);
/// Third argument; here the end of the packet.
pub const R3: Register = Register(3);
/// Fourth argument; here for comparisons.
pub const R4: Register = Register(4);

/// How many bytes a load or a store is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Two.
    Half,
    /// Four.
    Word,
    /// Eight.
    Double,
}

impl Width {
    fn code(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Double => 0x18,
        }
    }
}

/// A program that is being written.
#[derive(Debug, Default)]
pub struct Assembler(Vec<u64>);

/// A jump whose target is not written yet.
#[must_use]
pub struct Jump(usize);

impl Assembler {
    /// The instructions, to be loaded.
    #[must_use]
    pub fn instructions(self) -> Vec<u64> {
        self.0
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        let [low, high] = offset.to_le_bytes();
        let immediate = immediate.to_le_bytes();
        let registers = to.0 | from.0 << 4;
        let [a, b, c, d] = immediate;
        self.0.push(u64::from_le_bytes([code, registers, low, high, a, b, c, d]));
    }

    /// `to = value`
    pub fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, R0, 0, value);
    }

    /// `to = from`
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to += value`
    pub fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to, R0, 0, value);
    }

    /// `to &= value`
    pub fn and(&mut self, to: Register, value: i32) {
        self.push(0x57, to, R0, 0, value);
    }

    /// The lower 16 bits of the register in network byte order.
    pub fn swap_to_network_order(&mut self, register: Register) {
        self.push(0xdc, register, R0, 0, 16);
    }

    /// `to = *(from + offset)`
    pub fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(0x61 | width.code(), to, from, offset, 0);
    }

    /// `*(to + offset) = from`
    pub fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(0x63 | width.code(), to, from, offset, 0);
    }

    /// `*(to + offset) = value`, four bytes as they are in memory.
    pub fn store_bytes(&mut self, to: Register, offset: i16, bytes: [u8; 4]) {
        self.push(0x62, to, R0, offset, i32::from_ne_bytes(bytes));
    }

    /// `to =` address of the value of a map that is an array of one value.
    pub fn map_value(&mut self, to: Register, map: i32) {
        // BPF_PSEUDO_MAP_VALUE; the second half would hold an offset in the value.
        self.push(0x18, to, Register(2), 0, map);
        self.push(0, R0, R0, 0, 0);
    }

    /// Calls a helper.
    pub fn call(&mut self, helper: i32) {
        self.push(0x85, R0, R0, 0, helper);
    }

    /// Ends the program with R0 as its result.
    pub fn exit(&mut self) {
        self.push(0x95, R0, R0, 0, 0);
    }

    /// Jumps if `one > other`.
    pub fn jump_if_greater(&mut self, one: Register, other: Register) -> Jump {
        self.push(0x2d, one, other, 0, 0);
        Jump(self.0.len() - 1)
    }

    /// Jumps if `register != value`.
    pub fn jump_if_not(&mut self, register: Register, value: i32) -> Jump {
        self.push(0x55, register, R0, 0, value);
        Jump(self.0.len() - 1)
    }

    /// The next instruction is where this jump goes.
    pub fn land(&mut self, jump: Jump) {
        let distance = u64::try_from(self.0.len() - 1 - jump.0).unwrap_or_default();
        self.0[jump.0] |= (distance & 0x7fff) << 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As clang encodes them.
    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let mut code = Assembler::default();
        code.load(Width::Word, R2, R1, 76);
        let jump = code.jump_if_greater(R4, R3);
        code.store(Width::Half, R2, 34, R0);
        code.set(R0, -1);
        code.land(jump);
        code.exit();
        let bytes: Vec<[u8; 8]> = code.instructions().into_iter().map(u64::to_le_bytes).collect();
        assert_eq!(
            bytes,
            [
                [0x61, 0x12, 76, 0, 0, 0, 0, 0],
                [0x2d, 0x34, 2, 0, 0, 0, 0, 0],
                [0x6b, 0x02, 34, 0, 0, 0, 0, 0],
                [0xb7, 0x00, 0, 0, 0xff, 0xff, 0xff, 0xff],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }
}
