//! What is asked of a device when it is made, as the text that stands in a URL; and what is said when it cannot be that.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Model, Pace};

/// The options that were given, all of which the device has.
pub(super) struct Given<'a>(&'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    /// # Errors
    /// The device has no such option.
    pub(super) fn checked(model: &Model, options: &'a BTreeMap<String, String>) -> Result<Given<'a>, String> {
        for name in options.keys() {
            if !model.options.iter().any(|(known, _)| known == name) {
                let known: Vec<&str> = model.options.iter().map(|&(known, _)| known).collect();
                return Err(format!(
                    "the simulated {} has no option '{name}'; there are {}",
                    model.name,
                    known.join(", ")
                ));
            }
        }
        Ok(Given(options))
    }

    /// # Errors
    /// It is no number, or not one of these.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>, default: f64) -> Result<f64, String> {
        let (low, high) = (range.start(), range.end());
        self.of(name, default, &format!("a number from {low} to {high}"), |number| range.contains(number))
    }

    /// # Errors
    /// It is no whole number, or not one of these.
    pub(super) fn whole<N>(&self, name: &str, range: RangeInclusive<N>, default: N) -> Result<N, String>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let (low, high) = (range.start(), range.end());
        self.of(name, default, &format!("a whole number from {low} to {high}"), |number| range.contains(number))
    }

    /// # Errors
    /// It is neither true nor false.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.0.get(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("true" | "1" | "yes") => Ok(true),
            Some("false" | "0" | "no") => Ok(false),
            Some(_) => self.of(name, default, "true or false", |_| false),
        }
    }

    /// One of the `codes` of two digits, in this base.
    ///
    /// # Errors
    /// It is none of them.
    pub(super) fn code(&self, name: &str, codes: &[u8], base: u32) -> Result<u8, String> {
        let Some(text) = self.0.get(name) else { return Ok(0) };
        let code = u8::from_str_radix(text, base).ok().filter(|code| codes.contains(code));
        code.ok_or_else(|| {
            let shown = |code: &u8| if base == 16 { format!("{code:02X}") } else { format!("{code:02}") };
            let known: Vec<String> = codes.iter().map(shown).collect();
            format!("{name} is one of {}, not '{text}'", known.join(", "))
        })
    }

    /// # Errors
    /// It is no number from 0 to 100.
    pub(super) fn pace(&self) -> Result<Pace, String> {
        self.number("pace", 0.0..=100.0, 1.0).map(Pace)
    }

    fn of<T: FromStr>(&self, name: &str, default: T, what: &str, fits: impl Fn(&T) -> bool) -> Result<T, String> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.parse().ok().filter(fits).ok_or_else(|| format!("{name} is {what}, not '{text}'"))
    }
}
