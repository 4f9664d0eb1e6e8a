//! How much one address, and one write key, may use.
//!
//! Promises: memory is bounded by [`MAX_ADDRESSES`], whoever knocks; all of an IPv6 /64, which is one customer's, counts
//! as one address; whoever sends too much is read more slowly, and nothing of it is lost.
//! Refuses: connections and requests above their limits, with the time after which to try again.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    bucket::{Bucket, Rate},
    stats::AccessStats,
};
use crate::config;

/// 100 bytes each. When so many are known at the same time and none can be forgotten, new ones share one place.
const MAX_ADDRESSES: usize = 65_536;
/// How often the table is gone through for those who can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// A connection limit frees up when somebody leaves: nobody knows when.
const RETRY_CONNECTIONS_AFTER: Duration = Duration::from_secs(5);

/// The limits of one kind of user.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    sockets: u32,
    connections: u32,
    new_connections: Option<Rate>,
    messages: Option<Rate>,
    bytes: Option<Rate>,
    requests: Option<Rate>,
}

/// What one address or key uses now.
#[derive(Debug, Default)]
struct Meter {
    sockets: AtomicU32,
    connections: AtomicU32,
    new_connections: Bucket,
    messages: Bucket,
    bytes: Bucket,
    requests: Bucket,
}

impl Meter {
    fn is_idle(&self, now: Duration) -> bool {
        [&self.new_connections, &self.messages, &self.bytes, &self.requests].iter().all(|bucket| bucket.is_idle(now))
    }
}

/// Too much; ask again after this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    pub retry_after: Duration,
}

/// All limits of a node.
#[derive(Debug)]
pub struct Limits {
    exempt: config::Networks,
    address_rates: Rates,
    key_rates: Rates,
    began: Instant,
    addresses: Mutex<Addresses>,
    keys: Mutex<HashMap<String, Arc<Meter>>>,
    stats: Arc<AccessStats>,
}

#[derive(Debug, Default)]
struct Addresses {
    meters: HashMap<IpAddr, Arc<Meter>>,
    crowd: Arc<Meter>,
    swept: Duration,
}

impl Limits {
    #[must_use]
    pub fn new(settings: &config::Limits, stats: Arc<AccessStats>) -> Self {
        let rate = |per_sec| Rate::new(per_sec, settings.burst);
        Self {
            exempt: settings.exempt.clone(),
            address_rates: Rates {
                sockets: settings.address_sockets,
                connections: settings.address_connections,
                new_connections: rate(settings.address_new_connections_per_sec),
                messages: rate(settings.address_messages_per_sec),
                bytes: rate(settings.address_bytes_per_sec),
                requests: rate(settings.address_requests_per_sec),
            },
            key_rates: Rates {
                connections: settings.key_connections,
                messages: rate(settings.key_messages_per_sec),
                bytes: rate(settings.key_bytes_per_sec),
                ..Rates::default()
            },
            began: Instant::now(),
            addresses: Mutex::default(),
            keys: Mutex::default(),
            stats,
        }
    }

    /// A TCP connection of `address`, and its place if it needs one.
    ///
    /// # Errors
    /// [`Limited`] when it has too many.
    pub fn open_socket(&self, address: IpAddr) -> Result<Option<Place>, Limited> {
        let Some(meter) = self.meter_of(address) else { return Ok(None) };
        let place = Place::take(&meter, |meter| &meter.sockets, self.address_rates.sockets);
        if place.is_none() {
            self.stats.sockets_limited.count();
        }
        place.map(Some).ok_or(Limited { retry_after: RETRY_CONNECTIONS_AFTER })
    }

    /// A recording connection of `address`.
    ///
    /// # Errors
    /// [`Limited`] when it has too many, or makes too many.
    pub fn open_connection(self: &Arc<Self>, address: IpAddr) -> Result<Throttle, Limited> {
        let mut throttle = Throttle { limits: Arc::clone(self), address: None, key: Arc::default(), place: None };
        let Some(meter) = self.meter_of(address) else { return Ok(throttle) };
        let limited = |limited| {
            self.stats.connections_limited.count();
            limited
        };
        if let Some(rate) = self.address_rates.new_connections {
            let taken = meter.new_connections.try_take(1, rate, self.now());
            taken.map_err(|retry_after| limited(Limited { retry_after }))?;
        }
        let place = Place::take(&meter, |meter| &meter.connections, self.address_rates.connections);
        let place = place.ok_or_else(|| limited(Limited { retry_after: RETRY_CONNECTIONS_AFTER }))?;
        throttle.place = Some(Arc::new(place));
        throttle.address = Some(meter);
        Ok(throttle)
    }

    /// A request of `address` that is not a recording connection's.
    ///
    /// # Errors
    /// [`Limited`] when it makes too many.
    pub fn request(&self, address: IpAddr) -> Result<(), Limited> {
        let (Some(rate), Some(meter)) = (self.address_rates.requests, self.meter_of(address)) else { return Ok(()) };
        meter.requests.try_take(1, rate, self.now()).map_err(|retry_after| {
            self.stats.requests_limited.count();
            Limited { retry_after }
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// `None`: there is no limit for this address.
    fn meter_of(&self, address: IpAddr) -> Option<Arc<Meter>> {
        if self.exempt.contains(address) {
            return None;
        }
        let address = one_customer(address);
        let now = self.now();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        Some(addresses.meter_of(address, now))
    }

    fn meter_of_key(&self, id: &str) -> Arc<Meter> {
        // As many as keys were ever made while this process runs.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(keys.entry(id.to_owned()).or_default())
    }
}

impl Addresses {
    fn meter_of(&mut self, address: IpAddr, now: Duration) -> Arc<Meter> {
        if let Some(meter) = self.meters.get(&address) {
            return Arc::clone(meter);
        }
        // Not at every knock: going through a full table is what a flood would have us do.
        if now.saturating_sub(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.meters.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_idle(now));
            if self.meters.len() * 4 < self.meters.capacity() {
                self.meters.shrink_to_fit();
            }
        }
        if self.meters.len() >= MAX_ADDRESSES {
            return Arc::clone(&self.crowd);
        }
        Arc::clone(self.meters.entry(address).or_default())
    }
}

/// An IPv6 customer has a /64 at least, and a fresh address for each connection if he likes.
fn one_customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// One of a limited number, given back when dropped.
#[derive(Debug)]
pub struct Place {
    meter: Arc<Meter>,
    counter: fn(&Meter) -> &AtomicU32,
}

impl Place {
    /// `limit` 0: any number.
    fn take(meter: &Arc<Meter>, counter: fn(&Meter) -> &AtomicU32, limit: u32) -> Option<Self> {
        let taken = counter(meter).fetch_add(1, Ordering::Relaxed);
        // Made before it is refused, so that dropping it takes the count back.
        let place = Self { meter: Arc::clone(meter), counter };
        (limit == 0 || taken < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.counter)(&self.meter).fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's share of the limits; clones are the same connection's.
#[derive(Clone, Debug)]
pub struct Throttle {
    limits: Arc<Limits>,
    address: Option<Arc<Meter>>,
    /// Known from the hello on.
    key: Arc<OnceLock<(Arc<Meter>, Place)>>,
    /// Given back with the last clone.
    place: Option<Arc<Place>>,
}

impl Throttle {
    /// From now on this connection also counts as the key's.
    ///
    /// # Errors
    /// [`Limited`] when the key has too many connections.
    pub fn use_key(&self, id: &str) -> Result<(), Limited> {
        let meter = self.limits.meter_of_key(id);
        let Some(place) = Place::take(&meter, |meter| &meter.connections, self.limits.key_rates.connections) else {
            self.limits.stats.connections_limited.count();
            return Err(Limited { retry_after: RETRY_CONNECTIONS_AFTER });
        };
        // A connection has one hello; a second key would be none of its business.
        let _ = self.key.set((meter, place));
        Ok(())
    }

    /// A message came; `Some`: read on after this time only.
    #[must_use]
    pub fn message(&self) -> Option<Duration> {
        let wait = self.take(1, |rates| rates.messages, |meter| &meter.messages);
        if wait.is_some() {
            self.limits.stats.messages_slowed.count();
        }
        wait
    }

    /// Bytes came; `Some`: read on after this time only.
    #[must_use]
    pub fn bytes(&self, count: usize) -> Option<Duration> {
        let wait = self.take(count as u64, |rates| rates.bytes, |meter| &meter.bytes);
        if wait.is_some() {
            self.limits.stats.chunks_slowed.count();
        }
        wait
    }

    fn take(&self, amount: u64, rate: fn(&Rates) -> Option<Rate>, bucket: fn(&Meter) -> &Bucket) -> Option<Duration> {
        let of = |meter: Option<&Arc<Meter>>, rates: &Rates| {
            let (meter, rate) = (meter?, rate(rates)?);
            bucket(meter).take(amount, rate, self.limits.now())
        };
        let key = self.key.get().map(|(meter, _)| meter);
        // Both are taken from, whichever has to be waited for.
        let waits = [of(self.address.as_ref(), &self.limits.address_rates), of(key, &self.limits.key_rates)];
        waits.into_iter().flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Networks;

    fn settings() -> config::Limits {
        let none = Networks::default();
        config::Limits { exempt: none, address_sockets: 2, address_connections: 2, ..config::Limits::default() }
    }

    fn limits(settings: &config::Limits) -> Arc<Limits> {
        Arc::new(Limits::new(settings, Arc::default()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_limited_for_each_address_and_given_back() {
        let limits = limits(&settings());
        let first = limits.open_connection(ip("192.0.2.1")).unwrap();
        let _second = limits.open_connection(ip("192.0.2.1")).unwrap();
        assert!(limits.open_connection(ip("192.0.2.1")).is_err());
        assert!(limits.open_connection(ip("192.0.2.2")).is_ok(), "another address");
        let clone = first.clone();
        drop(first);
        assert!(limits.open_connection(ip("192.0.2.1")).is_err(), "a clone still has the place");
        drop(clone);
        assert!(limits.open_connection(ip("192.0.2.1")).is_ok());
        assert_eq!(limits.stats.connections_limited.get(), 2);
        let _sockets = [limits.open_socket(ip("192.0.2.1")).unwrap(), limits.open_socket(ip("192.0.2.1")).unwrap()];
        assert!(limits.open_socket(ip("192.0.2.1")).is_err());
    }

    #[test]
    fn a_customers_network_is_one_address() {
        let limits = limits(&settings());
        let _first = limits.open_connection(ip("2001:db8::1")).unwrap();
        let _second = limits.open_connection(ip("2001:db8::ffff:1")).unwrap();
        assert!(limits.open_connection(ip("2001:db8:0:0:8000::")).is_err());
        assert!(limits.open_connection(ip("2001:db8:0:1::1")).is_ok());
        let _mapped = [limits.open_connection(ip("192.0.2.1")), limits.open_connection(ip("::ffff:192.0.2.1"))];
        assert!(limits.open_connection(ip("192.0.2.1")).is_err(), "IPv4 in IPv6 is IPv4");
    }

    #[test]
    fn the_exempt_and_the_unlimited_are_not_counted() {
        let exempt = limits(&config::Limits { exempt: Networks::loopback(), ..settings() });
        let unlimited = limits(&config::Limits { address_connections: 0, address_sockets: 0, ..settings() });
        for (limits, address) in [(exempt, ip("127.0.0.1")), (unlimited, ip("192.0.2.1"))] {
            let held: Vec<_> = (0..50).map(|_| limits.open_connection(address)).collect();
            assert!(held.iter().all(Result::is_ok));
            assert!(limits.open_socket(address).is_ok());
        }
    }

    #[test]
    fn rates_refuse_requests_and_slow_messages() {
        let settings = config::Limits {
            address_requests_per_sec: 1,
            address_new_connections_per_sec: 1,
            address_messages_per_sec: 1,
            address_bytes_per_sec: 1_000,
            address_connections: 0,
            burst: Duration::from_hours(1),
            ..settings()
        };
        let limits = limits(&settings);
        for _ in 0..3_600 {
            limits.request(ip("192.0.2.1")).unwrap();
        }
        let refused = limits.request(ip("192.0.2.1")).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(1));
        assert!(limits.request(ip("192.0.2.2")).is_ok());
        let throttle = limits.open_connection(ip("192.0.2.1")).unwrap();
        assert!((0..3_600).all(|_| throttle.message().is_none()) && throttle.message().is_some());
        assert!(throttle.bytes(3_600_000).is_none() && throttle.bytes(10_000).is_some());
        let other = limits.open_connection(ip("192.0.2.1")).unwrap();
        assert!(other.message().is_some(), "the address is what counts");
        for _ in 2..3_600 {
            drop(limits.open_connection(ip("192.0.2.1")).unwrap());
        }
        assert!(limits.open_connection(ip("192.0.2.1")).is_err());
    }

    #[test]
    fn a_key_has_limits_of_its_own() {
        let settings = config::Limits {
            exempt: Networks::loopback(),
            key_connections: 2,
            key_messages_per_sec: 1,
            burst: Duration::from_hours(1),
            ..settings()
        };
        let limits = limits(&settings);
        let connections: Vec<_> = (0..3).map(|_| limits.open_connection(ip("127.0.0.1")).unwrap()).collect();
        connections[0].use_key("web").unwrap();
        connections[1].use_key("web").unwrap();
        assert!(connections[2].use_key("web").is_err());
        assert!((0..3_600).all(|_| connections[0].message().is_none()));
        assert!(connections[1].message().is_some() && connections[2].message().is_none());
        drop(connections);
        let next = limits.open_connection(ip("127.0.0.1")).unwrap();
        assert!(next.use_key("web").is_ok());
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_is_forgotten() {
        let mut addresses = Addresses::default();
        let address = |number: usize| IpAddr::V4((u32::try_from(number).unwrap() + (1 << 24)).into());
        let held = addresses.meter_of(address(0), Duration::ZERO);
        for number in 0..MAX_ADDRESSES + 1_000 {
            addresses.meter_of(address(number), Duration::ZERO);
        }
        assert_eq!(addresses.meters.len(), MAX_ADDRESSES);
        let crowded = addresses.meter_of(address(MAX_ADDRESSES + 1), Duration::ZERO);
        assert!(Arc::ptr_eq(&crowded, &addresses.crowd));
        addresses.meter_of(address(MAX_ADDRESSES + 1), SWEEP_INTERVAL);
        assert_eq!(addresses.meters.len(), 2);
        assert!(Arc::ptr_eq(&held, &addresses.meter_of(address(0), SWEEP_INTERVAL)), "in use, so not forgotten");
        assert!(addresses.meters.capacity() < MAX_ADDRESSES / 4);
    }
}
