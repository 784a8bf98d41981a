use super::*;

#[test]
fn filters_match_as_the_standard_says() {
    let cases = [
        ("sport/#", "sport", true),
        ("sport/#", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/uptime", false),
        ("+/uptime", "$SYS/uptime", false),
        ("$SYS/#", "$SYS/uptime", true),
        ("a/b", "a/b/c", false),
        ("a/b/c", "a/b", false),
        ("été/+", "été/temp", true),
    ];
    for (filter, topic, expected) in cases {
        assert_eq!(matches(filter, topic), expected, "{filter} against {topic}");
    }
}

#[test]
fn a_filter_covers_another_only_where_every_topic_of_it_matches() {
    let cases = [
        ("#", "a/#", true),
        ("#", "$SYS/#", false),
        ("+/b", "a/b", true),
        ("+/b", "$x/b", false),
        ("a/+", "a/#", false),
        ("a/#", "a/+/c", true),
        ("a/#", "a", true),
        ("a/+", "a", false),
        ("a/b", "a/+", false),
        ("+/+", "+/+", true),
        ("a/+/#", "a/#", false),
    ];
    for (wide, narrow, expected) in cases {
        assert_eq!(covers(wide, narrow), expected, "{wide} over {narrow}");
    }
}

#[test]
fn malformed_filters_are_refused_with_the_reason() {
    let deep = "a/".repeat(TOPIC_LEVELS_MAX);
    let cases = [
        ("", TopicError::Empty),
        ("a#", TopicError::HashNotLast),
        ("a/#/b", TopicError::HashNotLast),
        ("a+/b", TopicError::PlusNotAlone),
        ("a\0b", TopicError::Nul),
        (deep.as_str(), TopicError::TooDeep),
    ];
    for (filter, expected) in cases {
        assert_eq!(check_filter(filter), Err(expected), "{filter:?}");
    }
    assert_eq!(check_name("a/+"), Err(TopicError::WildcardInName));
    assert_eq!(check_name("a/b"), Ok(()));
}
