pub(crate) fn draw(_: &crate::recording::Recording, _: &crate::figures::Figures) -> anyhow::Result<String> {
    Ok(String::new())
}
