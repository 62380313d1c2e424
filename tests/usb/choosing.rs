//! Which device is meant and which of its endpoints, and what it means that the system refuses it.

use labtether::error::OpenKind;
use labtether::transport::usb::{
    Device as Listed, EndpointInfo, Endpoints, Wanted, choose_endpoints, find_device, refusal,
};

#[test]
fn a_device_is_found_by_what_is_known_of_it() {
    let device = |pid, number: Option<&str>, name: &str, number_on_bus: u64| Listed {
        vid: 0x1209,
        pid,
        serial_number: number.map(str::to_owned),
        name: name.to_owned(),
        place: format!("1-{number_on_bus}"),
        number: 0x100 + number_on_bus,
    };
    let there = [device(1, None, "", 1), device(2, Some("A1"), "ACME Pump", 2), device(2, Some("A2"), "ACME Pump", 3)];
    let wanted =
        |pid, number: Option<&str>| Wanted { vid: 0x1209, pid, serial_number: number.map(str::to_owned), interface: 0 };
    assert_eq!(find_device(&wanted(1, None), &there).unwrap(), 0);
    assert_eq!(find_device(&wanted(2, Some("A2")), &there).unwrap(), 2);
    let error = find_device(&wanted(2, None), &there).unwrap_err();
    assert_eq!(error.kind, OpenKind::Ambiguous);
    assert_eq!(
        error.why,
        "2 devices are 1209:0002: 1209:0002 (ACME Pump, serial number A1, at 1-2), 1209:0002 (ACME Pump, serial number A2, \
         at 1-3); say which with serial_number="
    );
    let error = find_device(&wanted(2, Some("A3")), &there).unwrap_err();
    assert_eq!(error.kind, OpenKind::Missing);
    assert!(
        error.why.starts_with("it is not plugged in; there are 1209:0001 (at 1-1), 1209:0002 (ACME"),
        "{}",
        error.why
    );
    assert!(find_device(&wanted(1, None), &[]).unwrap_err().why.ends_with("this machine has no USB devices"));
    // Links to two interfaces, or two devices, are not in each other's way; and no device file has such a number.
    let berths = [there[0].berth(0), there[0].berth(1), there[1].berth(0)];
    assert!(berths.iter().all(|berth| berth >> 63 == 1) && berths[0] != berths[1] && berths[0] != berths[2]);
}

#[test]
fn endpoints_are_the_first_that_fit_or_those_that_were_given() {
    let endpoint = |address: u8, bulk| EndpointInfo { address, reads: address & 0x80 != 0, bulk };
    let there = [endpoint(0x83, false), endpoint(0x01, true), endpoint(0x82, true), endpoint(0x84, true)];
    assert_eq!(choose_endpoints(Endpoints::default(), &there).unwrap(), (0x82, 0x01));
    assert_eq!(choose_endpoints(Endpoints { read: Some(0x84), write: Some(0x01) }, &there).unwrap(), (0x84, 0x01));
    let error = choose_endpoints(Endpoints { read: Some(0x83), write: None }, &there).unwrap_err();
    assert_eq!(error.kind, OpenKind::Unsupported);
    assert_eq!(
        error.why,
        "its interface has no bulk in endpoint 0x83, as read_endpoint= says; it has 0x83 (not bulk, in), 0x01 (bulk, out), \
         0x82 (bulk, in), 0x84 (bulk, in)"
    );
    let error = choose_endpoints(Endpoints::default(), &there[2..]).unwrap_err();
    assert!(error.why.starts_with("its interface has no bulk out endpoint; it has"), "{}", error.why);
    assert!(choose_endpoints(Endpoints::default(), &[]).unwrap_err().why.ends_with("it has no endpoints"));
}

#[test]
fn a_refused_device_says_what_to_do() {
    let wanted = Wanted { vid: 0x1209, pid: 0x7e57, serial_number: Some("A1".to_owned()), interface: 2 };
    assert_eq!(wanted.to_string(), "1209:7e57:A1");
    let error = refusal(&wanted, OpenKind::Permission, "permission denied (EACCES)", Some(13));
    assert_eq!((error.kind, error.errno), (OpenKind::Permission, Some(13)));
    let rule =
        "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"1209\", ATTR{idProduct}==\"7e57\", MODE=\"0660\", TAG+=\"uaccess\"";
    assert!(error.why.contains(rule), "{}", error.why);
    let error = refusal(&wanted, OpenKind::InUse, "interface is busy", None);
    assert_eq!(error.why, "interface is busy: another program has interface 2");
}
