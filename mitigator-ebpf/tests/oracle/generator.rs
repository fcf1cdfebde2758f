//! Packets that are nearly valid: built header by header from random choices, then mangled where it
//! hurts, at the fields that hold lengths and name what comes next. Equal seeds give equal packets.

/// A packet and what was done to it.
pub struct Made {
    pub bytes: Vec<u8>,
    pub damage: Vec<Damage>,
}

/// What is done to a packet after it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Nothing,
    /// One to four bits of the headers are inverted.
    BitFlips,
    /// The end is missing.
    Truncation,
    /// A field that holds a length holds another one.
    Length,
    /// A field that names the next header names another one.
    NextHeader,
    /// Four or eight bytes stand before a header.
    Insertion,
    /// Nothing but random bytes behind a random known ethertype.
    Noise,
}

impl Damage {
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::BitFlips,
        Self::Truncation,
        Self::Length,
        Self::NextHeader,
        Self::Insertion,
        Self::Noise,
    ];
}

const ETHERTYPES: [u16; 9] = [0x0800, 0x0800, 0x86dd, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806, 0x88e5];
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const TRANSPORTS: [u8; 12] = [6, 6, 6, 6, 17, 17, 17, 1, 58, 47, 50, 59];
const EXTENSIONS: [u8; 9] = [0, 43, 44, 44, 51, 60, 135, 139, 140];
/// What a damaged field may name: every number either parser treats in a way of its own.
const NUMBERS: [u8; 18] = [0, 1, 2, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140, 253];

/// Makes packets, one after the other.
pub struct Generator {
    state: u64,
}

/// A packet in the making.
#[derive(Default)]
struct Draft {
    bytes: Vec<u8>,
    /// Where headers begin.
    starts: Vec<usize>,
    /// Bytes that hold a length or a part of one.
    lengths: Vec<usize>,
    /// Bytes that name the next header, with the version of IP among them.
    nexts: Vec<usize>,
}

impl Generator {
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn packet(&mut self) -> Made {
        if self.chance(50) {
            return self.noise();
        }
        let mut draft = self.build();
        let mut damage = Vec::new();
        for _ in 0..self.pick(&[0, 1, 1, 1, 2, 2, 3]) {
            let kind = self.pick(&[
                Damage::BitFlips,
                Damage::Truncation,
                Damage::Length,
                Damage::NextHeader,
                Damage::Insertion,
            ]);
            self.damage(&mut draft, kind);
            damage.push(kind);
        }
        if damage.is_empty() {
            damage.push(Damage::Nothing);
        }
        Made { bytes: draft.bytes, damage }
    }

    fn noise(&mut self) -> Made {
        let mut bytes = self.bytes(12);
        bytes.extend(self.pick(&ETHERTYPES).to_be_bytes());
        let length = self.below(100);
        bytes.extend(self.bytes(length));
        if let Some(first) = bytes.get_mut(14) {
            *first = self.pick(&[0x45, 0x46, 0x60, *first]);
        }
        Made { bytes, damage: vec![Damage::Noise] }
    }

    fn build(&mut self) -> Draft {
        let mut draft = Draft::default();
        draft.begin(&self.bytes(12));
        for _ in 0..self.pick(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]) {
            let tag = self.pick(&TAGS);
            draft.name_next_wide(tag);
            let control = self.bytes(2);
            draft.begin(&control);
        }
        match self.below(40) {
            0 => draft.name_next_wide(0x0806),
            1 => draft.name_next_wide(0x88e5),
            2..20 => {
                draft.name_next_wide(0x0800);
                self.build_v4(&mut draft);
            }
            _ => {
                draft.name_next_wide(0x86dd);
                self.build_v6(&mut draft);
            }
        }
        if draft.nexts.len() == 2 {
            let length = 8 + self.below(60);
            draft.bytes.extend(self.bytes(length));
        }
        // Ethernet's padding, as short frames have it.
        let padding = self.pick(&[0, 0, 0, 6, 18]);
        draft.bytes.extend(self.bytes(padding));
        draft
    }

    fn build_v4(&mut self, draft: &mut Draft) {
        let options = self.pick(&[0, 0, 0, 4, 8, 20, 40]);
        let protocol = if self.chance(40) { 51 } else { self.pick(&TRANSPORTS) };
        let after = self.transport(protocol);
        let length = 20 + options + after.bytes.len();
        let start = draft.bytes.len();
        let mut header = self.bytes(20 + options);
        header[0] = 0x40 | byte_of(5 + options / 4);
        header[2..4].copy_from_slice(&word_of(length).to_be_bytes());
        header[6..8].copy_from_slice(&self.fragment_bits_v4().to_be_bytes());
        header[9] = protocol;
        draft.begin(&header);
        draft.lengths.extend([start, start + 2, start + 3, start + 6, start + 7]);
        draft.nexts.extend([start, start + 9]);
        draft.append(after);
    }

    fn fragment_bits_v4(&mut self) -> u16 {
        match self.below(6) {
            0 => 0x2000,
            1 => 0x2000 | self.below_u16(0x2000),
            2 => self.below_u16(0x2000),
            3 => 0x4000,
            _ => 0,
        }
    }

    fn build_v6(&mut self, draft: &mut Draft) {
        let count = self.pick(&[0, 0, 0, 1, 1, 2, 2, 3, 4, 8, 9]);
        let numbers: Vec<u8> = (0..count).map(|_| self.pick(&EXTENSIONS)).collect();
        let protocol = self.pick(&TRANSPORTS);
        let mut after = Draft::default();
        for (position, number) in numbers.iter().enumerate() {
            let next = numbers.get(position + 1).copied().unwrap_or(protocol);
            let start = after.bytes.len();
            after.begin(&self.extension(*number, next));
            after.nexts.push(start);
            after.lengths.push(start + 1);
        }
        after.append(self.transport(protocol));
        let start = draft.bytes.len();
        let mut header = self.bytes(40);
        header[0] = 0x60 | header[0] & 0x0f;
        header[4..6].copy_from_slice(&word_of(after.bytes.len()).to_be_bytes());
        header[6] = numbers.first().copied().unwrap_or(protocol);
        if self.chance(30) {
            header[8..12].fill(0);
        }
        draft.begin(&header);
        draft.lengths.extend([start + 4, start + 5]);
        draft.nexts.extend([start, start + 6]);
        draft.append(after);
    }

    fn extension(&mut self, number: u8, next: u8) -> Vec<u8> {
        let units = self.pick(&[0, 0, 0, 1, 2, 4]);
        let mut header = match number {
            44 => self.bytes(8),
            51 => self.bytes((units + 2) * 4),
            _ => self.bytes((units + 1) * 8),
        };
        header[0] = next;
        header[1] = byte_of(units);
        if number == 44 {
            let bits = match self.below(8) {
                0..3 => 1,
                3 => self.below_u16(0x2000) << 3 | 1,
                4 => self.below_u16(0x2000) << 3,
                _ => 0,
            };
            header[2..4].copy_from_slice(&bits.to_be_bytes());
        }
        header
    }

    /// The header of a transport with some payload.
    fn transport(&mut self, protocol: u8) -> Draft {
        let mut draft = Draft::default();
        let payload = if self.chance(3) { 0 } else { self.below(40) };
        match protocol {
            6 => {
                let options = self.pick(&[0, 0, 4, 12, 40]);
                let mut header = self.bytes(20 + options);
                header[12] = byte_of(5 + options / 4) << 4 | header[12] & 0x0f;
                draft.begin(&header);
                draft.lengths.push(12);
            }
            17 => {
                let mut header = self.bytes(8);
                header[4..6].copy_from_slice(&word_of(8 + payload).to_be_bytes());
                draft.begin(&header);
                draft.lengths.extend([4, 5]);
            }
            1 | 58 => {
                let mut header = self.bytes(8);
                header[0] = self.pick(&[0, 8, 3, 13, 14, 128, 129, 135]);
                header[1] = self.pick(&[0, 0, 1]);
                draft.begin(&header);
            }
            51 => draft.begin(&self.extension(51, 6)),
            _ => {}
        }
        draft.bytes.extend(self.bytes(payload));
        draft
    }

    fn damage(&mut self, draft: &mut Draft, kind: Damage) {
        match kind {
            Damage::Nothing | Damage::Noise => {}
            Damage::BitFlips => {
                for _ in 0..=self.below(4) {
                    let at = 12 + self.below(draft.bytes.len().saturating_sub(12).min(120));
                    let bit = self.below(8);
                    draft.change(at, |byte| byte ^ 1 << bit);
                }
            }
            Damage::Truncation => {
                // Close to a header's end as often as anywhere.
                let anywhere = self.below(draft.bytes.len() + 1);
                let start = self.pick(&draft.starts).max(14);
                let length = self.pick(&[anywhere, start, start.saturating_sub(1), start + 1, start + 4]);
                draft.bytes.truncate(length);
            }
            Damage::Length => {
                if draft.lengths.is_empty() {
                    return;
                }
                let at = self.pick(&draft.lengths);
                let any = self.byte();
                let kind = self.below(5);
                draft.change(at, |byte| match kind {
                    0 => any,
                    1 => 0,
                    2 => byte.wrapping_add(1),
                    3 => byte.wrapping_sub(1),
                    _ => byte / 2,
                });
            }
            Damage::NextHeader => {
                let at = self.pick(&draft.nexts);
                if draft.starts.contains(&(at + 2)) {
                    let [high, low] = self.pick(&ETHERTYPES).to_be_bytes();
                    draft.change(at, |_| high);
                    draft.change(at + 1, |_| low);
                } else {
                    let number = self.pick(&NUMBERS);
                    let version = self.pick(&[0x45, 0x60, 0x46, 0x44, 0x50]);
                    let is_version = draft.starts.contains(&at) && self.chance(2);
                    draft.change(at, |_| if is_version { version } else { number });
                }
            }
            Damage::Insertion => {
                // Mostly behind the network header, before which nothing would be IP any more.
                let picked = self.pick(&draft.starts);
                let last = draft.starts.last().copied().unwrap_or(0);
                let at = self.pick(&[picked, last, last]).max(14).min(draft.bytes.len());
                let length = self.pick(&[4, 8]);
                let mut bytes = self.bytes(length);
                // Often an extension header by its looks.
                if let ([first, second, ..], true) = (bytes.as_mut_slice(), self.chance(2)) {
                    *first = self.pick(&NUMBERS);
                    *second = 0;
                }
                draft.bytes.splice(at..at, bytes);
            }
        }
    }

    /// SplitMix64.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() >> 33).expect("31 bits fit") % bound.max(1)
    }

    fn below_u16(&mut self, bound: usize) -> u16 {
        word_of(self.below(bound))
    }

    fn byte(&mut self) -> u8 {
        byte_of(self.below(256))
    }

    /// One in `n`.
    fn chance(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

impl Draft {
    /// Appends a header.
    fn begin(&mut self, header: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend(header);
    }

    /// Appends the ethertype of what follows.
    fn name_next_wide(&mut self, ethertype: u16) {
        self.nexts.push(self.bytes.len());
        self.bytes.extend(ethertype.to_be_bytes());
    }

    /// Appends what another draft holds.
    fn append(&mut self, other: Self) {
        let by = self.bytes.len();
        let moved = |offsets: Vec<usize>| offsets.into_iter().map(move |offset| offset + by);
        self.starts.extend(moved(other.starts));
        self.lengths.extend(moved(other.lengths));
        self.nexts.extend(moved(other.nexts));
        self.bytes.extend(other.bytes);
    }

    fn change(&mut self, at: usize, new: impl FnOnce(u8) -> u8) {
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = new(*byte);
        }
    }
}

fn byte_of(number: usize) -> u8 {
    u8::try_from(number).expect("a header's length fits its field")
}

fn word_of(number: usize) -> u16 {
    u16::try_from(number).expect("a packet's length fits its field")
}
