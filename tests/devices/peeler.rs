//! The seal peeler.

use super::host::{Host, check};

#[tokio::test]
async fn a_motion_is_acknowledged_at_once_and_reported_when_it_is_over() {
    check(
        "xpeel",
        "",
        "0 > *stat | 1 < *ready:00,00,00
         10 > *moveout | 11 < *ack | 3011 < *ready:00,00,00
         4000 > *movein | 4001 < *ack | 7001 < *ready:00,00,00
         8000 > *moveup | 8001 < *ack | 10001 < *ready:00,00,00
         11000 > *movedown | 11001 < *ack | 13001 < *ready:00,00,00
         14000 > *movespool | 14001 < *ack | 16001 < *ready:00,00,00
         17000 > *reset | 17001 < *ack | 19001 < *ready:00,00,00",
    )
    .await;
}

#[tokio::test]
async fn a_peel_takes_ten_seconds_and_the_adhere_time() {
    check("xpeel", "", "0 > *xpeel:31 | 1 < *ack | 12501 < *ready:00,00,00").await;
    check("xpeel", "", "0 > *xpeel:34 | 1 < *ack | 20001 < *ready:00,00,00").await;
    // A slow set; and the seconds in full, as PyLabRobot's driver sends them.
    check("xpeel", "", "0 > *xpeel:41 | 1 < *ack | 14501 < *ready:00,00,00").await;
    check("xpeel", "", "0 > *xpeel:42.5 | 1 < *ack | 14501 < *ready:00,00,00").await;
    check("xpeel", "", "0 > *xpeel:110.0 | 1 < *ack | 20001 < *ready:00,00,00").await;
}

#[tokio::test]
async fn its_pace_scales_every_motion_and_no_answer() {
    check("xpeel", "pace=0.01", "0 > *xpeel:31 | 1 < *ack | 126 < *ready:00,00,00").await;
    check("xpeel", "pace=2", "0 > *moveout | 1 < *ack | 6001 < *ready:00,00,00").await;
    // However fast, the acknowledgement comes first.
    check("xpeel", "pace=0", "0 > *xpeel:31 | 1 < *ack | 2 < *ready:00,00,00").await;
}

#[tokio::test]
async fn what_it_is_told_while_it_moves_is_lost() {
    check(
        "xpeel",
        "",
        "0 > *xpeel:31 | 1 < *ack
         100 > *stat
         5000 > *moveout
         6000 > *reset
         12501 < *ready:00,00,00
         13000 > *stat | 13001 < *ready:00,00,00",
    )
    .await;
}

#[tokio::test]
async fn a_seal_that_is_not_removed_is_code_04_until_the_next_motion() {
    check(
        "xpeel",
        "fault=04",
        "0 > *xpeel:31 | 1 < *ack | 12501 < *ready:04,00,00
         13000 > *stat | 13001 < *ready:04,00,00
         14000 > *sealcheck | 14001 < *ack | 18001 < *ready:04,00,00
         19000 > *reset | 19001 < *ack | 21001 < *ready:00,00,00",
    )
    .await;
    check(
        "xpeel",
        "",
        "0 > *sealcheck | 1 < *ack | 4001 < *ready:04,00,00
         5000 > *xpeel:31 | 5001 < *ack | 17501 < *ready:00,00,00
         18000 > *sealcheck | 18001 < *ack | 22001 < *ready:00,00,00",
    )
    .await;
}

#[tokio::test]
async fn a_stalled_motor_fails_the_motions_that_need_it() {
    check(
        "xpeel",
        "fault=01",
        "0 > *moveup | 1 < *ack | 2001 < *ready:00,00,00
         3000 > *moveout | 3001 < *ack | 6001 < *ready:01,00,00
         7000 > *xpeel:31 | 7001 < *ack | 19501 < *ready:01,00,00",
    )
    .await;
}

#[tokio::test]
async fn a_missing_plate_is_only_noticed_by_a_peel_that_was_told_to_check() {
    check(
        "xpeel",
        "plate=false",
        "0 > *xpeel:31 | 1 < *ack | 12501 < *ready:00,00,00
         13000 > *platecheck:y | 13001 < *ack | 13002 < *ready:00,00,00
         14000 > *xpeel:31 | 14001 < *ack | 26501 < *ready:06,00,00
         27000 > *sealcheck | 27001 < *ack | 31001 < *ready:06,00,00
         32000 > *platecheck:n | 32001 < *ack | 32002 < *ready:00,00,00
         33000 > *xpeel:31 | 33001 < *ack | 45501 < *ready:00,00,00",
    )
    .await;
}

#[tokio::test]
async fn the_tape_is_told_in_tens_with_the_codes_of_the_last_motion_after_it() {
    check("xpeel", "", "0 > *tapeleft | 1 < *tape:22,10 | 1 < *ready:00,00,00").await;
    check(
        "xpeel",
        "pace=0&supply=31&take_up=30&fault=00",
        "0 > *tapeleft | 1 < *tape:03,03 | 1 < *ready:00,00,00
         10 > *xpeel:31 | 11 < *ack | 12 < *ready:00,00,21
         20 > *xpeel:31 | 21 < *ack | 22 < *ready:00,20,21
         30 > *tapeleft | 31 < *tape:02,02 | 31 < *ready:00,20,21",
    )
    .await;
    check(
        "xpeel",
        "pace=0&supply=1",
        "0 > *stat | 1 < *ready:00,20,00
         10 > *xpeel:31 | 11 < *ack | 12 < *ready:00,20,00
         20 > *xpeel:31 | 21 < *ack | 22 < *ready:07,20,00",
    )
    .await;
}

#[tokio::test]
async fn what_it_does_not_know_is_an_illegal_command() {
    for command in
        ["*peel", "stat", "*xpeel", "*xpeel:", "*xpeel:01", "*xpeel:35", "*xpeel:é", "*platecheck:x", "*stat:1"]
    {
        check("xpeel", "", &format!("0 > {command} | 1 < *ready:05,00,00")).await;
    }
}

#[tokio::test]
async fn after_a_restart_it_homes_and_does_not_know_its_tape() {
    check(
        "xpeel",
        "",
        "0 > *restart | 1 < *ack | 1 < *poweron | 1 < *homing
         4000 > *stat
         8001 < *ready:00,00,00
         9000 > *tapeleft | 9001 < *tape:99,99 | 9001 < *ready:00,00,00
         10000 > *moveup | 10001 < *ack | 12001 < *ready:00,00,00
         13000 > *tapeleft | 13001 < *tape:22,10 | 13001 < *ready:00,00,00",
    )
    .await;
}

#[tokio::test]
async fn switched_off_in_a_peel_it_homes_when_it_is_on_again() {
    let mut host = Host::of("xpeel", "");
    host.send("*xpeel:31").await;
    host.listen_until(5_000).await;
    host.served.power_cycle();
    host.listen_until(60_000).await;
    let heard: Vec<(u64, &str)> = host.heard.iter().map(|(time, line)| (*time, line.as_str())).collect();
    assert_eq!(heard, [(1, "*ack"), (5001, "*poweron"), (5001, "*homing"), (13_001, "*ready:00,00,00")]);
}
