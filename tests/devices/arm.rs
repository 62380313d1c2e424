//! The robot arm: one interpreter, and motions that go on behind it.

use super::host::{Host, check};

/// As PyLabRobot's driver begins: 18 s, the homing included.
const READY: &str = "0 > mode 0 | 1 < 0
                     10 > hp 1 20 | 3011 < 0
                     3020 > attach 1 | 3021 < 0
                     3030 > home | 18031 < 0\n";

async fn check_ready(asked: &str, conversation: &str) {
    check("precise_flex", asked, &format!("{READY}{conversation}")).await;
}

#[tokio::test]
async fn it_is_made_ready_step_by_step() {
    check_ready(
        "",
        "20000 > freemode -1 | 20001 < 0
         20010 > wherej | 20011 < 0 113 81 218 64 70
         20020 > attach | 20021 < 0 -1
         20030 > hp | 20031 < 0 1
         20040 > mode | 20041 < 0 0
         20050 > sysState | 20051 < 0 21
         20060 > nop | 20061 < 0
         20070 > exit",
    )
    .await;
}

#[tokio::test]
async fn without_power_attachment_or_homing_it_refuses() {
    check(
        "precise_flex",
        "",
        "0 > attach 1 | 1 < -1046 Power not enabled
         10 > home | 11 < -1046 Power not enabled
         20 > movej 1 1 2 3 4 5 | 21 < -1046 Power not enabled
         30 > sysState | 31 < 0 7
         40 > hp 1 | 41 < 0
         50 > hp | 51 < 0 0
         60 > sysState | 61 < 0 8
         3042 > hp | 3043 < 0 1
         3050 > sysState | 3051 < 0 20
         3060 > home | 3061 < -1009 No robot attached
         3070 > attach | 3071 < 0 0
         3080 > attach 1 | 3081 < 0
         3090 > movej 1 1 2 3 4 5 | 3091 < -1021 Robot not homed
         3100 > hp 0 | 3101 < 0
         3110 > attach | 3111 < 0 0",
    )
    .await;
}

#[tokio::test]
async fn power_that_does_not_come_in_time_and_an_emergency_stop_are_errors() {
    check("precise_flex", "", "0 > hp 1 2 | 2001 < -1025 Timeout enabling power | 4000 > hp | 4001 < 0 1").await;
    check("precise_flex", "", "0 > hp 1 -1 | 3001 < 0").await;
    check(
        "precise_flex",
        "estop=true",
        "0 > hp 1 20 | 1 < -1028 Hard E-Stop | 10 > sysState | 11 < 0 15 | 20 > attach 1 | 21 < -1046 Power not enabled",
    )
    .await;
}

#[tokio::test]
async fn a_move_is_answered_when_it_begins_and_shows_where_it_is() {
    check_ready(
        "",
        "20000 > movej 1 213 81 218 64 70 | 20001 < 0
         20250 > wherej | 20251 < 0 137.975 81 218 64 70
         20500 > wherej | 20501 < 0 162.95 81 218 64 70
         21001 > wherej | 21002 < 0 213 81 218 64 70
         22000 > speed 2 50 | 22001 < 0
         22010 > speed 2 | 22011 < 0 2 50
         23000 > MoveJ 2 113 81 218 64 70 | 23001 < 0
         23010 > waitForEom | 25001 < 0",
    )
    .await;
}

#[tokio::test]
async fn while_a_command_waits_it_hears_nothing_not_even_halt() {
    check_ready(
        "",
        "20000 > movej 1 413 81 218 64 70 | 20001 < 0
         20100 > waitForEom
         20200 > wherej
         20300 > halt
         23001 < 0
         23001 < 0 413 81 218 64 70
         23001 < 0
         24000 > home
         24100 > wherej
         39001 < 0
         39001 < 0 113 81 218 64 70",
    )
    .await;
}

#[tokio::test]
async fn halt_stops_a_move_where_it_is_when_nothing_waits() {
    check_ready(
        "",
        "20000 > movej 1 213 81 218 64 70 | 20001 < 0
         20500 > wherej | 20501 < 0 162.95 81 218 64 70
         20550 > halt | 20551 < 0
         20600 > wherej | 20601 < 0 167.945 81 218 64 70
         20700 > waitForEom | 20702 < 0
         20800 > wherej | 20801 < 0 167.945 81 218 64 70
         21000 > halt | 21001 < 0",
    )
    .await;
}

#[tokio::test]
async fn an_interruptible_one_answers_what_waited_and_then_the_halt() {
    check_ready(
        "interruptible=true",
        "20000 > movej 1 413 81 218 64 70 | 20001 < 0
         20100 > waitForEom
         20150 > wherej
         20500 > halt | 20501 < 0 | 20501 < 0 | 20501 < 0 162.983 81 218 64 70
         21000 > home
         22000 > halt | 22001 < -214 Cancelled | 22001 < 0
         22100 > wherej | 22101 < 0 162.983 81 218 64 70",
    )
    .await;
}

#[tokio::test]
async fn a_move_after_a_move_waits_for_it() {
    check_ready(
        "",
        "20000 > movej 1 213 81 218 64 70 | 20001 < 0
         20100 > movej 1 113 81 218 64 70
         21001 < 0
         21100 > waitForEom | 22002 < 0
         23000 > attach 0 | 23002 < 0
         23100 > movej 1 213 81 218 64 70 | 23101 < -1009 No robot attached",
    )
    .await;
}

#[tokio::test]
async fn power_off_stops_it_and_detaching_waits_until_it_stands() {
    check_ready(
        "",
        "20000 > movej 1 213 81 218 64 70 | 20001 < 0
         20100 > attach 0 | 21001 < 0
         22000 > attach 1 | 22001 < 0
         23000 > movej 1 113 81 218 64 70 | 23001 < 0
         23500 > hp 0 | 23501 < 0
         23600 > wherej | 23601 < 0 163.05 81 218 64 70",
    )
    .await;
}

#[tokio::test]
async fn stored_locations_are_moved_to() {
    check_ready(
        "",
        "20000 > move 7 1 | 20001 < -202 Invalid argument
         20010 > locAngles 7 113 81 218 64 80 | 20011 < 0
         20020 > move 7 1 | 20021 < 0
         20030 > waitForEom | 20121 < 0
         20200 > wherej | 20201 < 0 113 81 218 64 80",
    )
    .await;
}

#[tokio::test]
async fn a_freed_arm_is_not_moved() {
    check_ready(
        "",
        "20000 > freemode 0 | 20001 < 0
         20010 > movej 1 1 2 3 4 5 | 20011 < -1017 Not in position control mode
         20020 > freemode -1 | 20021 < 0
         20030 > movej 1 113 81 218 64 70 | 20031 < 0",
    )
    .await;
}

#[tokio::test]
async fn what_it_does_not_understand_has_a_code() {
    check(
        "precise_flex",
        "",
        "0 > dance | 1 < -321 Invalid device command
         10 > movej | 11 < -205 Missing argument
         20 > movej 1 2 3 | 21 < -205 Missing argument
         30 > movej 1 1 2 3 4 5 6 | 31 < -202 Invalid argument
         40 > movej 1 1 2 3 4 far | 41 < -202 Invalid argument
         50 > mode 2 | 51 < -202 Invalid argument
         60 > movej 1 1 2 3 4 nan | 61 < -202 Invalid argument
         70 > speed 1 0 | 71 < -202 Invalid argument
         80 > halt | 81 < 0",
    )
    .await;
}

#[tokio::test]
async fn a_line_feed_before_halt_says_nothing() {
    let mut host = Host::of("precise_flex", "");
    host.send_raw("\nhalt\n").await;
    host.send_raw("nop\r\n").await;
    host.listen_until(10).await;
    assert_eq!(host.heard, [(1, "0".to_owned()), (1, "0".to_owned())]);
}

#[tokio::test]
async fn switched_off_it_knows_no_power_no_home_and_no_motion() {
    let mut host = Host::of("precise_flex", "pace=0.001");
    for (time, command) in ["hp 1 20", "attach 1", "home", "movej 1 513 81 218 64 70", "waitForEom"].iter().enumerate()
    {
        host.listen_until(100 * time as u64).await;
        host.send(command).await;
    }
    host.listen_until(401).await;
    host.served.power_cycle();
    host.listen_until(1_000).await;
    host.send("attach 1").await;
    host.listen_until(2_000).await;
    let heard: Vec<&str> = host.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(heard, ["0", "0", "0", "0", "-1046 Power not enabled"]);
}
