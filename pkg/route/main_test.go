package route_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options are those of the adapters that the tests know.
type options struct {
	URL    string     `json:"url" required:"true"`
	Secret secret.Ref `json:"secret"`
	Token  string     `json:"token"`
}

func (o options) Endpoint() string { return o.URL }

type nowhere struct{}

func (nowhere) Deliver(context.Context, *signal.Signal) error { return nil }

func init() {
	for _, name := range []string{"fake", "other"} {
		dispatch.Register(name, func(context.Context, options, dispatch.Env) (dispatch.Adapter, error) { return nowhere{}, nil })
	}
	dispatch.Register("bare", func(context.Context, struct{}, dispatch.Env) (dispatch.Adapter, error) { return nowhere{}, nil })
}

// specs reads routes from YAML.
func specs(tb testing.TB, text string) []route.Spec {
	tb.Helper()
	n, err := plug.Parse([]byte(text), "routes.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	all, err := route.ParseAll(n)
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// table compiles routes from YAML.
func table(tb testing.TB, text string) *route.Table {
	tb.Helper()
	var routes []route.Route
	for _, s := range specs(tb, text) {
		routes = append(routes, route.Route{Spec: s})
	}
	t, err := route.Compile(routes...)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func event(tb testing.TB, typ string, data any, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New(typ, data, append([]signal.Option{signal.From("/test")}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
