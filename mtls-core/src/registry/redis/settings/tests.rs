use super::*;

fn parsed(text: &str) -> Result<String, RedisAddressError> {
    text.parse::<RedisAddress>()
        .map(|address| address.to_string())
}

#[test]
fn addresses_are_read_and_printed_whole() {
    for (text, printed) in [
        ("redis://engine", "redis://engine:6379"),
        ("valkey://engine:7000", "redis://engine:7000"),
        ("rediss://shop@engine/3", "rediss://shop@engine:6379/3"),
        (
            "valkeys://[2001:db8::1]:6380/",
            "rediss://[2001:db8::1]:6380",
        ),
        ("redis://@192.0.2.1", "redis://192.0.2.1:6379"),
        ("redis://[::1]", "redis://[::1]:6379"),
        (
            "redis+sentinel://s1+s2:7000+[::1]/shop",
            "redis+sentinel://s1:26379+s2:7000+[::1]:26379/shop",
        ),
        (
            "valkeys+sentinel://fleet@s1/shop/3",
            "rediss+sentinel://fleet@s1:26379/shop/3",
        ),
    ] {
        assert_eq!(parsed(text).as_deref(), Ok(printed), "{text}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    for text in [
        "redis://shop:s3cret@engine",
        "redis://:s3cret@engine",
        "rediss://a:b@c@d",
    ] {
        let error = parsed(text).expect_err("refused");
        assert_eq!(error, RedisAddressError::Password);
        assert!(!error.to_string().contains("s3cret"));
    }
}

#[test]
fn texts_that_are_no_addresses_are_refused() {
    for (text, error) in [
        ("engine:6379", RedisAddressError::Scheme),
        ("http://engine", RedisAddressError::Scheme),
        ("redis://", RedisAddressError::Host),
        ("redis://:6379", RedisAddressError::Host),
        ("redis://[::1", RedisAddressError::Host),
        ("redis://engine?password=x", RedisAddressError::Host),
        ("redis://[::1?password=x]", RedisAddressError::Host),
        ("redis://engine?password=x@y", RedisAddressError::Host),
        ("redis://engine#x", RedisAddressError::Host),
        ("redis://[::1]6379", RedisAddressError::Port),
        ("redis://engine:x", RedisAddressError::Port),
        ("redis://engine:65536", RedisAddressError::Port),
        ("redis://engine/x", RedisAddressError::Database),
        ("redis://engine/-1", RedisAddressError::Database),
        ("redis+sentinel://s1", RedisAddressError::Primary),
        ("redis+sentinel://s1//3", RedisAddressError::Primary),
        ("redis+sentinel://s1/shop?x=y", RedisAddressError::Primary),
        ("redis+sentinel:///shop", RedisAddressError::Host),
        ("redis+sentinel://s1++s2/shop", RedisAddressError::Host),
        ("redis+sentinel://s1/shop/x", RedisAddressError::Database),
        ("redis+cluster://s1/shop", RedisAddressError::Scheme),
    ] {
        assert_eq!(parsed(text), Err(error), "{text}");
    }
}

#[test]
fn settings_print_no_password() {
    let address = "redis://engine".parse().expect("an address");
    let mut settings = RedisSettings::new(address, ServiceId::default());
    settings.password = Some(Zeroizing::new("s3cret".to_owned()));
    assert!(!format!("{settings:?}").contains("s3cret"));
}
