package observe_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/signalmesh/signalmesh/pkg/observe"
)

// TestExposition scrapes a full set as Prometheus would and lints every name.
func TestExposition(t *testing.T) {
	t.Parallel()
	m := observe.New("v1")
	m.Ingested("signals", "stored")
	m.Routed("default", "r", "matched")
	m.Unmatched("default")
	m.Attempt("http", "ok", time.Millisecond)
	m.Delivery("default", "r", "delivered")
	m.DeadLetter("default", "route", "attempts")
	m.Settled("default", time.Second)
	m.InFlight("default", 2)
	m.Request("POST /v1/signals", "202", time.Millisecond)
	m.Table("default", 7, nil)
	m.Gauge("journal_lag", "Signals stored but not recorded.", "default", func() float64 { return 3 })

	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	problems, err := promlint.New(bytes.NewReader(rec.Body.Bytes())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint = %v, %v, want none", problems, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"signald_signals_in_flight": 2, "signald_route_table_revision": 7, "signald_journal_lag": 3, "signald_build_info": 1} {
		f := families[name]
		if f == nil {
			t.Errorf("%s is missing", name)
		} else if got := f.Metric[0].Gauge.GetValue(); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

// TestNil shows that a program without metrics pays nothing and needs no checks.
func TestNil(t *testing.T) {
	t.Parallel()
	var m *observe.Metrics
	m.Ingested("", "")
	m.Routed("", "", "")
	m.Unmatched("")
	m.Attempt("", "", 0)
	m.Delivery("", "", "")
	m.DeadLetter("", "", "")
	m.Settled("", 0)
	m.InFlight("", 1)
	m.Request("", "", 0)
	m.Table("", 0, nil)
	m.Gauge("", "", "", nil)
}
