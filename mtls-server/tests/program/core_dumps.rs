//! A core dump would contain private keys.

use crate::common::Site;

#[test]
fn a_server_leaves_no_core_dump() {
    let site = Site::new();
    let server = site.serve(&[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id()));
    let limits = limits.expect("the limits of the server");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .expect("a limit");
    let values: Vec<&str> = core.split_whitespace().take(2).collect();
    assert_eq!(values, ["0", "0"], "{limits}");
}
