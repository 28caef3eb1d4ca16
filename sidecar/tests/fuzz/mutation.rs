//! Mutations of seeds, the same in every run: what a fuzzer does, without its coverage.

/// The most mutations that are made at once to one seed.
const MAX_STEPS: usize = 4;
/// A longer input finds nothing that this one does not, and takes its time.
const MAX_BYTES: usize = 16 << 10;
/// What often matters to a parser of names, heads, YAML or TLS.
const TOKENS: [&[u8]; 36] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"@",
    b".",
    b"..",
    b"/",
    b"%2e",
    b"%00",
    b"[",
    b"]",
    b"*",
    b"#",
    b"443",
    b"0",
    b"65536",
    b"-1",
    b"+5",
    b"0x7f",
    b"xn--",
    b"\xff",
    b"\xef\xbc\x8e",
    b"\xc3\xbc",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: evil.test\r\n",
    b"CONNECT ",
    b"evil.test",
    b"\x16\x03\x01\x00\x01",
    b"\n- ",
    b"{",
    b"'",
];

/// An endless row of mutations.
pub(crate) struct Mutations<'a> {
    seeds: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// Mutations of `seeds`, of which there must be one.
    pub(crate) fn of(seeds: &'a [Vec<u8>]) -> Self {
        Self { seeds, state: 0 }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random() % (end.max(1) as u64)).expect("it is below a usize")
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below(length - start + 1)
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let place = self.below(input.len() + 1);
        match self.below(7) {
            0 if place < input.len() => input[place] ^= 1 << self.below(8),
            1 if place < input.len() => input[place] = self.random().to_le_bytes()[0],
            2 => drop(input.drain(self.range(input.len()))),
            3 => {
                let copied = input[self.range(input.len())].to_vec();
                input.splice(place..place, copied);
            }
            4 => {
                let other = &self.seeds[self.below(self.seeds.len())];
                let taken = other[self.range(other.len())].to_vec();
                input.splice(place..place, taken);
            }
            5 => {
                let end = (place + self.below(4)).min(input.len());
                input.splice(place..end, TOKENS[self.below(TOKENS.len())].iter().copied());
            }
            _ => {
                input.splice(place..place, TOKENS[self.below(TOKENS.len())].iter().copied());
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut input = self.seeds[self.below(self.seeds.len())].clone();
        for _ in 0..=self.below(MAX_STEPS) {
            self.mutate(&mut input);
        }
        input.truncate(MAX_BYTES);
        Some(input)
    }
}
