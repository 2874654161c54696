// Package observe is what a node tells its operators: Prometheus metrics under the prefix
// signald_, with base units and label values from closed sets (never an id, a subject or a
// URL, so that cardinality is bounded by the configuration).
package observe

import (
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// seconds are the bucket bounds of every duration, from a loopback call to a slow endpoint.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Metrics counts what one node does. A nil *Metrics counts nothing, so a library user can
// leave it out. All methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	ingested   *prometheus.CounterVec
	routed     *prometheus.CounterVec
	unmatched  *prometheus.CounterVec
	attempts   *prometheus.CounterVec
	attemptDur *prometheus.HistogramVec
	deliveries *prometheus.CounterVec
	dead       *prometheus.CounterVec
	endToEnd   *prometheus.HistogramVec
	inFlight   *prometheus.GaugeVec
	requests   *prometheus.CounterVec
	requestDur *prometheus.HistogramVec
	tableRev   *prometheus.GaugeVec
	tableFails prometheus.Counter
}

// New returns metrics in a registry of their own, with the Go and process collectors and a
// signald_build_info that carries the version.
func New(version string) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		ingested:   counter("signals_ingested_total", "Signals offered to the node's HTTP surface, by entry (signals, in, hook name) and outcome (stored, duplicate or an error code).", "entry", "outcome"),
		routed:     counter("signals_routed_total", "Verdicts of routes on signals whose type they match: matched, rejected (predicate said no) or predicate_error.", "bus", "route", "verdict"),
		unmatched:  counter("signals_unmatched_total", "Signals that no route matched.", "bus"),
		attempts:   counter("dispatch_attempts_total", "Delivery attempts by adapter and outcome (ok, or the class of the error).", "adapter", "outcome"),
		attemptDur: histogram("dispatch_attempt_seconds", "Time that one delivery attempt took.", "adapter"),
		deliveries: counter("deliveries_total", "Deliveries that came to an end, by route and final status.", "bus", "route", "status"),
		dead:       counter("dead_letters_total", "Dead letters written, by kind (route, subscription, signal, source) and reason.", "bus", "kind", "reason"),
		endToEnd:   histogram("end_to_end_seconds", "Time from the store's acknowledgement to the end of all deliveries of a signal.", "bus"),
		inFlight:   gauge("signals_in_flight", "Signals that were taken from the bus and not yet settled.", "bus"),
		requests:   counter("http_requests_total", "Requests served, by route pattern and status code.", "route", "code"),
		requestDur: histogram("http_request_seconds", "Time to answer a request, streams excepted.", "route"),
		tableRev:   gauge("route_table_revision", "Revision of the route table in force.", "bus"),
		tableFails: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "signald", Name: "route_table_failures_total", Help: "Route changes that could not be put in force."}),
	}
	info := gauge("build_info", "Always 1; the labels say which build runs.", "version", "goversion")
	info.WithLabelValues(version, goVersion()).Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info,
		m.ingested, m.routed, m.unmatched, m.attempts, m.attemptDur, m.deliveries, m.dead, m.endToEnd,
		m.inFlight, m.requests, m.requestDur, m.tableRev, m.tableFails,
	)
	return m
}

// Handler serves the metrics in the formats Prometheus asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Gauge registers a value of one bus that is asked for at each scrape, e.g. a consumer's
// lag. The name gets the signald_ prefix. It panics when the bus has it already.
func (m *Metrics) Gauge(name, help, bus string, value func() float64) {
	if m == nil {
		return
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "signald", Name: name, Help: help, ConstLabels: prometheus.Labels{"bus": bus},
	}, value))
}

// Ingested counts one signal offered at an entry point.
func (m *Metrics) Ingested(entry, outcome string) {
	if m != nil {
		m.ingested.WithLabelValues(entry, outcome).Inc()
	}
}

// Routed counts one verdict of a route whose pattern matched.
func (m *Metrics) Routed(bus, route, verdict string) {
	if m != nil {
		m.routed.WithLabelValues(bus, route, verdict).Inc()
	}
}

// Unmatched counts one signal that no route matched.
func (m *Metrics) Unmatched(bus string) {
	if m != nil {
		m.unmatched.WithLabelValues(bus).Inc()
	}
}

// Attempt counts one delivery attempt.
func (m *Metrics) Attempt(adapter, outcome string, took time.Duration) {
	if m != nil {
		m.attempts.WithLabelValues(adapter, outcome).Inc()
		m.attemptDur.WithLabelValues(adapter).Observe(took.Seconds())
	}
}

// Delivery counts one delivery that ended.
func (m *Metrics) Delivery(bus, route, status string) {
	if m != nil {
		m.deliveries.WithLabelValues(bus, route, status).Inc()
	}
}

// DeadLetter counts one dead letter that was written.
func (m *Metrics) DeadLetter(bus, kind, reason string) {
	if m != nil {
		m.dead.WithLabelValues(bus, kind, reason).Inc()
	}
}

// Settled records that all deliveries of a signal ended, the given time after it was stored.
func (m *Metrics) Settled(bus string, after time.Duration) {
	if m != nil {
		m.endToEnd.WithLabelValues(bus).Observe(max(after, 0).Seconds())
	}
}

// InFlight adds n to the number of unsettled signals.
func (m *Metrics) InFlight(bus string, n int) {
	if m != nil {
		m.inFlight.WithLabelValues(bus).Add(float64(n))
	}
}

// Request counts one HTTP request; route is the pattern that served it. A took of zero or
// less is not timed: a stream has no meaningful duration.
func (m *Metrics) Request(route, code string, took time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(route, code).Inc()
	if took > 0 {
		m.requestDur.WithLabelValues(route).Observe(took.Seconds())
	}
}

// Table records the revision of the route table in force, or that a change failed.
func (m *Metrics) Table(bus string, revision uint64, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.tableFails.Inc()
	default:
		m.tableRev.WithLabelValues(bus).Set(float64(revision))
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "signald", Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "signald", Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "signald", Name: name, Help: help, Buckets: seconds}, labels)
}

func goVersion() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.GoVersion
	}
	return "unknown"
}
