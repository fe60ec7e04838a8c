//! Metrics as they are collected: families of samples, in the library's types, and their text.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// A value with its labels.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    labels: Vec<LabelPair>,
    value: f64,
}

impl Sample {
    pub(super) fn new<const N: usize>(labels: [(&str, &str); N], value: f64) -> Self {
        let pair = |(name, value): (&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        Self { labels: labels.into_iter().map(pair).collect(), value }
    }

    /// A count. Beyond 2^53 it is rounded, as Prometheus would.
    pub(super) fn count<const N: usize>(labels: [(&str, &str); N], count: u64) -> Self {
        Self::new(labels, count as f64)
    }
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self::new([], value)
    }
}

impl From<bool> for Sample {
    fn from(is: bool) -> Self {
        Self::new([], f64::from(u8::from(is)))
    }
}

/// Every family, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// Something that only grows, until the process starts anew.
    pub(super) fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        self.add(name, help, MetricType::COUNTER, samples, |metric, value| {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    /// Something that is now so.
    pub(super) fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        self.add(name, help, MetricType::GAUGE, samples, |metric, value| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// One gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Into<Sample>) {
        self.gauges(name, help, [value.into()]);
    }

    /// How many of each size: a sample has the sum of all, `buckets` the counts by the largest of each size, ascending.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Sample, Vec<(f64, u64)>)>,
    ) {
        let (samples, mut buckets): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        let mut sizes = buckets.drain(..);
        self.add(name, help, MetricType::HISTOGRAM, samples, |metric, sum| {
            let mut count = 0;
            let bucket = |(largest, more)| {
                count += more;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(largest);
                bucket.set_cumulative_count(count);
                bucket
            };
            let mut histogram = Histogram::default();
            histogram.set_bucket(sizes.next().unwrap_or_default().into_iter().map(bucket).collect());
            histogram.set_sample_count(count);
            histogram.set_sample_sum(sum);
            metric.set_histogram(histogram);
        });
    }

    fn add(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = Sample>,
        mut set: impl FnMut(&mut Metric, f64),
    ) {
        let metrics = samples.into_iter().map(|Sample { labels, value }| {
            let mut metric = Metric::from_label(labels);
            set(&mut metric, value);
            metric
        });
        let metrics: Vec<Metric> = metrics.collect();
        // A family without samples is none.
        if !metrics.is_empty() {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            self.0.push(family);
        }
    }

    /// Name, type, labels and help of each.
    #[cfg(test)]
    pub(super) fn described(&self) -> impl Iterator<Item = [String; 4]> {
        self.0.iter().map(|family| {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let labels = family.get_metric().first().map(Metric::get_label).unwrap_or_default();
            let labels: Vec<&str> = labels.iter().map(LabelPair::name).collect();
            [family.name().to_owned(), kind, labels.join(", "), family.help().to_owned()]
        })
    }

    /// As Prometheus reads it: the text format, version 0.0.4.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // It fails where a family has no name or no sample, or where the text cannot be written; neither can be.
        if let Err(error) = TextEncoder::new().encode(&self.0, &mut text) {
            tracing::error!("metrics cannot be written: {error}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(add: impl FnOnce(&mut Families)) -> String {
        let mut families = Families::default();
        add(&mut families);
        String::from_utf8(families.text()).unwrap()
    }

    #[test]
    fn what_is_in_a_label_cannot_leave_it() {
        let text = text(|it| it.counters("a_total", "Help.", [Sample::count([("vm", "x\"} 1\n\\")], 3)]));
        assert_eq!(text, "# HELP a_total Help.\n# TYPE a_total counter\na_total{vm=\"x\\\"} 1\\n\\\\\"} 3\n");
    }

    #[test]
    fn buckets_add_up() {
        let text = text(|it| {
            it.histograms("b", "Help.", [(Sample::count([("worker", "0")], 9), vec![(1.0, 3), (2.0, 0), (4.0, 2)])]);
        });
        for line in ["b_bucket{worker=\"0\",le=\"1\"} 3", "b_bucket{worker=\"0\",le=\"4\"} 5", "le=\"+Inf\"} 5"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("b_sum{worker=\"0\"} 9") && text.contains("b_count{worker=\"0\"} 5"), "{text}");
    }

    #[test]
    fn a_family_without_samples_is_none() {
        assert_eq!(text(|it| it.gauges("a", "Help.", [])), "");
    }
}
