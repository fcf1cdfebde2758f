//! Shares, and the middle of a few numbers.

/// `part` of `whole`, 0 to 1; `None` when there is no whole.
#[expect(clippy::cast_precision_loss, reason = "packets of captures")]
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The middle one of `values`, the lower of two; `None` when there are none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_neither_share_nor_middle() {
        assert_eq!((share(1, 4), share(0, 0)), (Some(0.25), None));
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![3.0, 1.0], Some(1.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }
}
