//! Chance that is the same on every run and every machine.

/// SplitMix64, from its published recurrence (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice of their own for everything that any of `marks` tells apart.
    pub(super) fn of(seed: u64, marks: &[u64]) -> Dice {
        marks.iter().fold(Dice(seed), |mut dice, mark| Dice(dice.next() ^ mark))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, not including, `end`; 0 if there is nothing below it.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // Lemire's multiplication; its bias, below 2^-64 times `end`, does not matter here.
        let scaled = (u128::from(self.next()) * u128::from(end)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }

    /// Whether something of that chance happens: 1 always, 0 never.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        // 53 bits: as many as an f64 holds exactly.
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The first five for the seed 1234567, as on rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
        let mut dice = Dice::of(1_234_567, &[]);
        let drawn: Vec<u64> = (0..5).map(|_| dice.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, published);
    }

    #[test]
    fn what_is_certain_happens_and_what_is_impossible_does_not() {
        let mut dice = Dice::of(7, &[]);
        assert!((0..10_000).all(|_| dice.happens(1.0)));
        assert!((0..10_000).all(|_| !dice.happens(0.0)));
        assert!((2_800..3_200).contains(&(0..10_000).filter(|_| dice.happens(0.3)).count()));
        assert!((0..1_000).all(|_| dice.below(3) < 3) && dice.below(0) == 0);
    }
}
