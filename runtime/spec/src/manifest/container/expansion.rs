//! `$(NAME)`, as Kubernetes has it in `command`, `args` and the values of `env`.

/// `text` with each `$(NAME)` replaced by its value. One that has none stays as it is written, and `$$` is a
/// `$` that begins nothing. None: the result has more than `bytes_max`.
pub(super) fn expand<'a>(text: &str, bytes_max: usize, value_of: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            match value_of(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            after
        } else {
            expanded.push('$');
            after
        };
        if expanded.len() > bytes_max {
            return None;
        }
    }
    expanded.push_str(rest);
    (expanded.len() <= bytes_max).then_some(expanded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Option<String> {
        expand(text, 100, |name| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "NESTED" => Some("$(A)"),
            "LONG" => Some("0123456789012345678901234567890123456789"),
            _ => None,
        })
    }

    #[test]
    fn references_are_replaced_as_kubernetes_replaces_them() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("-$(A)-$(A)$(EMPTY)-", "-1-1-"),
            ("$(NONE)", "$(NONE)"),
            ("$()", "$()"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$", "$"),
            ("$$", "$"),
            ("a$", "a$"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$((A))", "$((A))"),
            ("$(A$(A)", "$(A$(A)"),
            ("$(NESTED)", "$(A)"),
            ("${A}", "${A}"),
            ("ä$(A)ö", "ä1ö"),
        ] {
            assert_eq!(of(text).as_deref(), Some(expanded), "{text}");
        }
    }

    #[test]
    fn what_becomes_too_long_is_nothing() {
        assert_eq!(of("$(LONG)$(LONG)").map(|text| text.len()), Some(80));
        assert_eq!(of("$(LONG)$(LONG)$(LONG)"), None);
        assert_eq!(of(&"x".repeat(101)), None);
    }

    proptest! {
        #[test]
        fn a_text_without_references_is_itself(text in "[^$]{0,50}") {
            prop_assert_eq!(expand(&text, 1_000, |_| None), Some(text));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[$()Aä]{0,30}") {
            let _ = of(&text);
        }
    }
}
