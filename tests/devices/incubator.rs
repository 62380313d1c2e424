//! The incubator: what it accepts, and what its registers say.

use super::host::{Host, check};

#[tokio::test]
async fn its_busy_bit_clears_when_the_motion_is_over() {
    check(
        "cytomat",
        "",
        "0 > ll:in | 1 < ok 01
         10 > ch:bs | 11 < bs 01
         29990 > ch:bs | 29991 < bs 01
         30001 > ch:bs | 30002 < bs 00",
    )
    .await;
    check("cytomat", "pace=0.01", "0 > ll:in | 1 < ok 01 | 300 > ch:bs | 301 < bs 01 | 302 > ch:bs | 303 < bs 00")
        .await;
}

#[tokio::test]
async fn the_gate_shows_in_the_overview() {
    check(
        "cytomat",
        "",
        "0 > ll:gp 002 | 1 < ok 01
         3002 > ch:bs | 3003 < bs 20
         4000 > ll:gp 001 | 4001 < ok 21
         7002 > ch:bs | 7003 < bs 00",
    )
    .await;
}

#[tokio::test]
async fn while_it_moves_it_answers_about_its_registers_only() {
    check(
        "cytomat",
        "",
        "0 > ll:gp 002 | 1 < ok 01
         100 > ll:in | 101 < er 01
         200 > mv:st 001 | 201 < er 01
         300 > hello | 301 < er 03
         400 > ch:be | 401 < be 00
         500 > ch:bw | 501 < bw 00
         600 > rs:be | 601 < ok 01
         700 > ch:it | 701 < it +37.0 +37.0
         3002 > mv:st 001 | 3003 < ok 21",
    )
    .await;
}

#[tokio::test]
async fn a_command_that_it_does_not_understand_says_why() {
    check(
        "cytomat",
        "",
        "0 > hello | 1 < er 03
         10 > llin | 11 < er 03
         20 > ch:bsx | 21 < er 03
         30 > ll:zz | 31 < er 02
         40 > mv:th | 41 < er 02
         50 > ll:gp 003 | 51 < er 04
         60 > ch:bs 1 | 61 < er 04
         70 > mv:st | 71 < er 04
         80 > mv:wt 001 | 81 < er 04
         90 > mv:st 1 | 91 < er 04
         95 > mv:st abc | 96 < er 04
         100 > mv:st 000 | 101 < er 05
         110 > mv:st 190 | 111 < er 05
         120 > ch:be | 121 < be 00",
    )
    .await;
}

#[tokio::test]
async fn a_plate_goes_out_and_in_again() {
    check(
        "cytomat",
        "",
        "0 > mv:st 003 | 1 < ok 01
         20002 > ch:bs | 20003 < bs 80
         21000 > mv:st 004 | 21001 < er 32
         22000 > mv:tw | 22001 < ok 81
         42002 > ch:bs | 42003 < bs 10
         43000 > mv:st 004 | 43001 < er 21
         44000 > mv:ts 003 | 44001 < er 31
         45000 > mv:ws 003 | 45001 < ok 11
         65002 > ch:bs | 65003 < bs 00
         66000 > mv:wt | 66001 < er 22
         67000 > mv:sh 003 | 67001 < ok 01
         87002 > mv:hs 003 | 87003 < ok 01
         107004 > ch:bs | 107005 < bs 00
         107010 > ch:be | 107011 < be 00",
    )
    .await;
}

#[tokio::test]
async fn an_empty_location_is_found_out_there_and_stays_in_the_error_register() {
    check(
        "cytomat",
        "plates=2",
        "0 > mv:st 003 | 1 < ok 01
         10000 > ch:bs | 10001 < bs 01
         20002 > ch:bs | 20003 < bs 08
         20010 > ch:be | 20011 < be 02
         20020 > ch:be | 20021 < be 02
         20030 > rs:be | 20031 < ok 00
         20040 > ch:be | 20041 < be 00
         20050 > ch:bs | 20051 < bs 00",
    )
    .await;
    // A plate for a place that is taken stays on the handler.
    check(
        "cytomat",
        "plates=2&pace=0",
        "0 > mv:st 001 | 1 < ok 01
         10 > mv:ts 002 | 11 < ok 81
         20 > ch:bs | 21 < bs 18
         30 > ch:be | 31 < be 03
         40 > rs:be | 41 < ok 10
         50 > mv:ws 001 | 51 < ok 11
         60 > ch:bs | 61 < bs 00",
    )
    .await;
}

#[tokio::test]
async fn a_fault_ends_every_motion() {
    check(
        "cytomat",
        "fault=0B",
        "0 > ll:in | 1 < ok 01 | 30002 > ch:bs | 30003 < bs 08 | 30010 > ch:be | 30011 < be 0B",
    )
    .await;
}

#[tokio::test]
async fn its_shovel_goes_out_through_an_open_gate_and_has_to_come_in_again() {
    check(
        "cytomat",
        "pace=0",
        "0 > ll:sp 002 | 1 < er 42
         10 > ll:gp 002 | 11 < ok 01
         20 > ll:sp 002 | 21 < ok 21
         30 > ll:gp 001 | 31 < er 12
         40 > mv:st 001 | 41 < er 12
         50 > ll:sp 001 | 51 < ok 21
         60 > ll:gp 001 | 61 < ok 21
         70 > ch:bs | 71 < bs 00",
    )
    .await;
}

#[tokio::test]
async fn switched_off_it_forgets_its_motion_and_not_its_plates() {
    let mut host = Host::of("cytomat", "");
    host.send("mv:st 001").await;
    host.listen_until(25_000).await;
    host.send("ll:in").await;
    host.listen_until(26_000).await;
    host.served.power_cycle();
    host.listen_until(27_000).await;
    host.send("ch:bs").await;
    host.listen_until(100_000).await;
    let heard: Vec<&str> = host.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(heard, ["ok 01", "ok 81", "bs 80"]);
}
