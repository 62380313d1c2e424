//! Which devices there are, and what can be asked of them.

use std::collections::BTreeMap;

use labtether::simulate::devices::{MODELS, Wire, device};

use super::host::options;

#[track_caller]
fn refusal(name: &str, asked: &str) -> String {
    device(name, &options(asked)).err().unwrap_or_else(|| panic!("{name} took {asked}"))
}

#[test]
fn there_are_the_devices_of_the_table_and_no_others() {
    let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    assert_eq!(names, ["balance", "cytomat", "lid_valet", "micro_spin", "precise_flex", "xpeel"]);
    assert_eq!(
        refusal("toaster", ""),
        "there is no simulated instrument \"toaster\"; there is 'balance', 'cytomat', 'lid_valet', 'micro_spin', \
         'precise_flex', 'xpeel'"
    );
}

#[test]
fn each_is_made_without_options_and_hears_what_ends_as_the_table_says() {
    for model in &MODELS {
        let device = device(model.name, &BTreeMap::new()).unwrap();
        let mut sent = bytes::BytesMut::from(format!("x{}", model.hears).as_bytes());
        let heard = device.instrument.framing().take(&mut sent).unwrap();
        assert_eq!((heard.as_deref(), sent.len()), (Some(b"x".as_slice()), 0), "{}", model.name);
        assert!(model.options.iter().any(|(name, _)| *name == "pace"), "{}", model.name);
        assert!(model.options.is_sorted(), "{}: they are listed in order", model.name);
    }
}

#[test]
fn serial_lines_and_ports_are_those_of_the_real_ones() {
    let of = |name| device(name, &BTreeMap::new()).unwrap().model.wire;
    for name in ["balance", "cytomat", "xpeel"] {
        assert_eq!(of(name), Wire::Serial { baudrate: 9600, bytesize: 8, parity: 'N', stopbits: 1 });
    }
    assert_eq!(of("micro_spin"), Wire::Tcp { port: 1000 });
    assert_eq!(of("lid_valet"), Wire::Tcp { port: 1000 });
    assert_eq!(of("precise_flex"), Wire::Tcp { port: 10_100 });
}

#[test]
fn what_cannot_be_asked_is_said_in_words() {
    assert_eq!(
        refusal("xpeel", "speed=2"),
        "the simulated xpeel has no option 'speed'; there are fault, pace, plate, supply, take_up"
    );
    assert_eq!(refusal("xpeel", "pace=fast"), "pace is a number from 0 to 100, not 'fast'");
    assert_eq!(refusal("cytomat", "pace=-1"), "pace is a number from 0 to 100, not '-1'");
    assert_eq!(refusal("balance", "pace=nan"), "pace is a number from 0 to 100, not 'nan'");
    assert_eq!(refusal("balance", "load=1e9"), "load is a number from -1000000 to 1000000, not '1e9'");
    assert_eq!(refusal("xpeel", "plate=maybe"), "plate is true or false, not 'maybe'");
    assert_eq!(refusal("xpeel", "supply=2.5"), "supply is a whole number from 0 to 980, not '2.5'");
    assert_eq!(refusal("lid_valet", "nests=0"), "nests is a whole number from 1 to 8, not '0'");
    assert_eq!(
        refusal("xpeel", "fault=11"),
        "fault is one of 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, 10, 20, 21, 51, 52, not '11'"
    );
    assert!(refusal("cytomat", "fault=09").ends_with("0A, 0B, 0C, 0D, FF, not '09'"));
    for (name, asked) in
        [("xpeel", "fault=4"), ("xpeel", "plate=No"), ("cytomat", "fault=ff"), ("micro_spin", "hangs=1")]
    {
        assert!(device(name, &options(asked)).is_ok(), "{name} {asked}");
    }
}
