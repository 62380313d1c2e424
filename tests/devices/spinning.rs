//! The centrifuge: commands with numbers, and a rotor that takes its time.

use super::host::{Host, check};

const HOMED: &str = "0 > home | 1 < ACK! home 1 | 15001 < OK! home 1\n";

async fn check_homed(asked: &str, conversation: &str) {
    check("micro_spin", asked, &format!("{HOMED}{conversation}")).await;
}

#[tokio::test]
async fn every_command_is_acknowledged_and_terminated_with_its_number() {
    check(
        "micro_spin",
        "",
        "0 > version | 1 < ACK! version 1 | 1 < Product Name: MicroSpin | 1 < OK! version 1
         10 > home | 11 < ACK! home 2 | 15011 < OK! home 2
         16000 > hss | 16001 < ACK! hss 3 | 16001 < homed | 16001 < OK! hss 3
         17000 > open 2 | 17001 < ACK! open 2 4 | 22001 < OK! open 2 4
         23000 > bogus | 23001 < ACK! bogus 5
         23001 < Error 1: (00:00:23) -12: Command \"bogus\" not recognized!
         23001 < ERROR! bogus 5
         24000 > status | 24001 < ACK! status 6
         24001 < Spindle Position: 1958 | 24001 < Door Position: 19242 | 24001 < OK! status 6
         25000 > whoami | 25001 < ACK! whoami 7 | 25001 < 1 | 25001 < OK! whoami 7",
    )
    .await;
}

#[tokio::test]
async fn a_spin_ends_when_the_rotor_stands_still_and_status_waits_for_it() {
    // 10 s to speed, 30 s there, 16.8 s to rest.
    check_homed(
        "",
        "20000 > spin 1000 100 100 30 | 20001 < ACK! spin 1000 100 100 30 2
         30000 > status | 30001 < ACK! status 3
         31000 > hss | 31001 < ACK! hss 4 | 31001 < homed | 31001 < OK! hss 4
         32000 > open 1 | 32001 < ACK! open 1 5
         33000 > s | 33001 < ACK! s 6
         76801 < OK! spin 1000 100 100 30 2
         76801 < Spindle Position: 2958 | 76801 < Door Position: -258 | 76801 < OK! status 3
         81802 < OK! open 1 5
         81802 < Spindle Position: 2958 | 81802 < Door Position: 19242 | 81802 < OK! s 6",
    )
    .await;
}

#[tokio::test]
async fn what_is_asked_just_before_the_rotor_stops_is_acknowledged_before_it_is_answered() {
    check_homed(
        "",
        "20000 > spin 1000 100 100 30 | 20001 < ACK! spin 1000 100 100 30 2
         76800 > status
         76801 < OK! spin 1000 100 100 30 2
         76801 < ACK! status 3
         76802 < Spindle Position: 2958 | 76802 < Door Position: -258 | 76802 < OK! status 3",
    )
    .await;
}

#[tokio::test]
async fn at_a_slow_deceleration_the_rotor_takes_minutes() {
    // The driver's authors measured about seven minutes at 20 %.
    check_homed(
        "",
        "20000 > sp 1000 100 20 10 | 20001 < ACK! sp 1000 100 20 10 2
         400000 ~
         460001 < OK! sp 1000 100 20 10 2",
    )
    .await;
}

#[tokio::test]
async fn an_abort_ends_the_spin_at_once_and_the_rotor_later() {
    check_homed(
        "",
        "20000 > spin 1000 100 50 3600 | 20001 < ACK! spin 1000 100 50 3600 2
         30000 > status | 30001 < ACK! status 3
         31000 > home | 31001 < ACK! home 4
         40000 > abort | 40001 < ACK! abort 5
         40001 < ABORTED! spin 1000 100 50 3600 2
         40001 < ABORTED! home 4
         40001 < Issue the \"clearbuttonabort\" (cba) command to re-enable the machine
         40001 < OK! abort 5
         41000 > open 1 | 41001 < ACK! open 1 6 | 41001 < ABORTED! open 1 6
         42000 > cba | 42001 < ACK! cba 7 | 42001 < OK! cba 7
         43000 > open 1 | 43001 < ACK! open 1 8
         107201 < Spindle Position: 2958 | 107201 < Door Position: -258 | 107201 < OK! status 3
         112202 < OK! open 1 8",
    )
    .await;
}

#[tokio::test]
async fn an_aborted_homing_is_none() {
    check(
        "micro_spin",
        "",
        "0 > home | 1 < ACK! home 1
         5000 > a | 5001 < ACK! a 2 | 5001 < ABORTED! home 1
         5001 < Issue the \"clearbuttonabort\" (cba) command to re-enable the machine
         5001 < OK! a 2
         6000 > clearbuttonabort | 6001 < ACK! clearbuttonabort 3 | 6001 < OK! clearbuttonabort 3
         7000 > hss | 7001 < ACK! hss 4 | 7001 < not homed | 7001 < OK! hss 4
         8000 > spin 100 50 50 5 | 8001 < ACK! spin 100 50 50 5 5
         8001 < Error 1: (00:00:08) -12: device is not homed | 8001 < ERROR! spin 100 50 50 5 5",
    )
    .await;
    // With nothing to abort, it is latched all the same.
    check(
        "micro_spin",
        "",
        "0 > abort | 1 < ACK! abort 1
         1 < Issue the \"clearbuttonabort\" (cba) command to re-enable the machine | 1 < OK! abort 1
         10 > home | 11 < ACK! home 2 | 11 < ABORTED! home 2",
    )
    .await;
}

#[tokio::test]
async fn a_motion_that_was_asked_for_during_the_homing_counts_on_it() {
    check(
        "micro_spin",
        "",
        "0 > home | 1 < ACK! home 1
         100 > open 1 | 101 < ACK! open 1 2
         15001 < OK! home 1
         20002 < OK! open 1 2",
    )
    .await;
}

#[tokio::test]
async fn wrong_parameters_are_errors_and_the_errors_are_kept() {
    check_homed(
        "",
        "20000 > spin 500 50 50 | 20001 < ACK! spin 500 50 50 2
         20001 < Error 1: (00:00:20) -12: Abnormal number of parameters (3) for command \"spin\".  Min: 4, Max: 4
         20001 < ERROR! spin 500 50 50 2
         21000 > spin 3001 50 50 5 | 21001 < ACK! spin 3001 50 50 5 3
         21001 < Error 1: (00:00:20) -12: Abnormal number of parameters (3) for command \"spin\".  Min: 4, Max: 4
         21001 < Error 2: (00:00:21) -12: g out of range: 3001
         21001 < ERROR! spin 3001 50 50 5 3
         22000 > errors 1 | 22001 < ACK! errors 1 4
         22001 < Error 2: (00:00:21) -12: g out of range: 3001
         22001 < OK! errors 1 4",
    )
    .await;
    for (command, text) in [
        ("spin 0 50 50 5", "g out of range: 0"),
        ("spin 500 0 50 5", "acceleration out of range: 0"),
        ("spin 500 50 101 5", "deceleration out of range: 101"),
        ("spin 500 50 50 0", "duration too short: 0"),
        ("spin a 50 50 5", "spin params must be integers, got a 50 50 5"),
        ("spin 500 50 50 -1", "spin params must be integers, got 500 50 50 -1"),
        ("open 3", "bucket must be 1 or 2, got 3"),
        ("home now", "Abnormal number of parameters (1) for command \"home\".  Min: 0, Max: 0"),
    ] {
        let told = format!("{command} 2");
        check_homed(
            "",
            &format!(
                "20000 > {command} | 20001 < ACK! {told}
                 20001 < Error 1: (00:00:20) -12: {text} | 20001 < ERROR! {told}"
            ),
        )
        .await;
    }
}

#[tokio::test]
async fn only_the_last_ten_errors_are_listed() {
    let mut host = Host::of("micro_spin", "");
    for hour in 1..=12 {
        host.send("bogus").await;
        host.listen_until(3_600_000 * 2 * hour).await;
    }
    host.heard.clear();
    host.send("e").await;
    host.listen_until(3_600_000 * 25).await;
    let lines: Vec<&str> = host.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines.len(), 12, "{lines:?}");
    assert_eq!(lines[0], "ACK! e 13");
    assert!(lines[1].starts_with("Error 3: (04:00:00) -12: "), "{lines:?}");
    assert!(lines[10].starts_with("Error 12: "), "{lines:?}");
}

#[tokio::test]
async fn a_spin_that_the_sensor_does_not_notice_ends_by_an_abort_only() {
    check_homed(
        "hangs=true",
        "20000 > spin 10 100 100 5 | 20001 < ACK! spin 10 100 100 5 2
         3600000 ~
         3600001 > abort | 3600002 < ACK! abort 3
         3600002 < ABORTED! spin 10 100 100 5 2
         3600002 < Issue the \"clearbuttonabort\" (cba) command to re-enable the machine
         3600002 < OK! abort 3
         3700000 > status | 3700001 < ACK! status 4
         3700001 < Spindle Position: 1968 | 3700001 < Door Position: -258 | 3700001 < OK! status 4
         3700010 > cba | 3700011 < ACK! cba 5 | 3700011 < OK! cba 5
         3700020 > spin 30 100 100 5 | 3700021 < ACK! spin 30 100 100 5 6
         3709662 < OK! spin 30 100 100 5 6",
    )
    .await;
}

#[tokio::test]
async fn its_pace_scales_the_spin() {
    check(
        "micro_spin",
        "pace=0.001",
        "0 > home | 1 < ACK! home 1 | 16 < OK! home 1
         100 > spin 1000 100 100 30 | 101 < ACK! spin 1000 100 100 30 2 | 157 < OK! spin 1000 100 100 30 2",
    )
    .await;
}

#[tokio::test]
async fn switched_off_it_is_not_homed_and_counts_anew() {
    let mut host = Host::of("micro_spin", "pace=0");
    host.send("home").await;
    host.listen_until(50).await;
    host.send("hss").await;
    host.listen_until(100).await;
    host.served.power_cycle();
    host.listen_until(200).await;
    host.send("hss").await;
    host.listen_until(300).await;
    let heard: Vec<&str> = host.heard.iter().skip(2).map(|(_, line)| line.as_str()).collect();
    assert_eq!(heard, ["ACK! hss 2", "homed", "OK! hss 2", "ACK! hss 1", "not homed", "OK! hss 1"]);
}
