package api

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const contentTypeText = "text/plain; charset=utf-8"

// getHealth says that the process answers, and nothing else.
func (a *API) getHealth(w http.ResponseWriter, _ *http.Request) error {
	write(w, http.StatusOK, contentTypeText, []byte("ok\n"))
	return nil
}

// checkTimeout bounds one look at everything that being ready depends on.
const checkTimeout = 2 * time.Second

// getReady says whether the node can do its work; with ?verbose it says why not.
func (a *API) getReady(w http.ResponseWriter, r *http.Request) error {
	query, err := onlyQuery(r, "verbose")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	errs := make([]error, len(a.cfg.Checks))
	var wg sync.WaitGroup
	for i, c := range a.cfg.Checks {
		wg.Go(func() { errs[i] = c.Check(ctx) })
	}
	wg.Wait()
	status, text := http.StatusOK, "ok\n"
	if a.unready(errs) {
		status, text = http.StatusServiceUnavailable, "not ready\n"
		w.Header().Set("Retry-After", "1")
	}
	if query.Has("verbose") {
		text = a.report(errs) + text
	}
	write(w, status, contentTypeText, []byte(text))
	return nil
}

// unready reports whether a check failed that counts.
func (a *API) unready(errs []error) bool {
	for i, err := range errs {
		if err != nil && !a.cfg.Checks[i].Advisory {
			return true
		}
	}
	return false
}

// report lists the checks, the failed ones with their reason, and the facts.
func (a *API) report(errs []error) string {
	var b strings.Builder
	for i, c := range a.cfg.Checks {
		switch {
		case errs[i] == nil:
			fmt.Fprintf(&b, "[+] %s: ok\n", c.Name)
		case c.Advisory:
			fmt.Fprintf(&b, "[!] %s: %s\n", c.Name, indented(errs[i]))
		default:
			fmt.Fprintf(&b, "[-] %s: %s\n", c.Name, indented(errs[i]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Facts)) {
		fmt.Fprintf(&b, "    %s: %s\n", name, a.cfg.Facts[name])
	}
	return b.String()
}

// indented is an error that may have several lines, below the mark of its check.
func indented(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n    ") }

//go:embed openapi.yaml
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	write(w, http.StatusOK, "application/yaml", openAPI)
	return nil
}
