//! Labelled flows that are made up, to learn from where the data sets are not at hand.

use mitigator::flows::features::{self, Spelling};

/// Flows of three kinds, 200 of each from number `first` on, under a spelling's names: queries that are answered, floods of tiny requests, and scans. Sizes and
/// times vary; nothing but the shape tells them apart.
#[must_use]
pub fn labelled_flows(spelling: Spelling, first: usize) -> String {
    let names: Vec<String> =
        features::columns(spelling).into_iter().map(|column| column.name.into_owned()).collect();
    let original: Vec<String> = features::columns(Spelling::Original2018)
        .into_iter()
        .map(|column| column.name.to_ascii_lowercase().replace([' ', '/'], "_"))
        .collect();
    let mut text = names.join(",") + ",Label\n";
    for number in first..first + 200 {
        for (label, packets, forward, backward, data, duration) in [
            ("BENIGN", [8, 9], 600 + number, 20_000 + 10 * number, 4, 800_000 + number),
            ("DoS Hulk", [4, 3], 20, 900 + number, 1, 6_000_000 + 100 * number),
            ("PortScan", [1, 1], 0, 0, 0, 20 + number),
        ] {
            let value = |name: &str| match name {
                "protocol" => 6,
                "tot_fwd_pkts" => packets[0],
                "tot_bwd_pkts" => packets[1],
                "totlen_fwd_pkts" => forward,
                "totlen_bwd_pkts" => backward,
                "fwd_act_data_pkts" => data,
                "flow_duration" => duration,
                "flow_iat_max" => duration / 2,
                _ => 0,
            };
            let cells: Vec<String> = if spelling == Spelling::Original2018 || spelling == Spelling::SnakeCase
            {
                original.iter().map(|name| value(name).to_string()).collect()
            } else {
                vec!["1".to_owned(); names.len()]
            };
            text += &format!("{},{label}\n", cells.join(","));
        }
    }
    text
}
