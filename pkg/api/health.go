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
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		status, text = http.StatusServiceUnavailable, "not ready\n"
		w.Header().Set("Retry-After", "1")
	}
	if query.Has("verbose") {
		text = a.report(errs) + text
	}
	write(w, status, contentTypeText, []byte(text))
	return nil
}

// report lists the checks, the failed ones with their reason, and the facts.
func (a *API) report(errs []error) string {
	var b strings.Builder
	for i, c := range a.cfg.Checks {
		if errs[i] != nil {
			fmt.Fprintf(&b, "[-] %s: %v\n", c.Name, errs[i])
			continue
		}
		fmt.Fprintf(&b, "[+] %s: ok\n", c.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Facts)) {
		fmt.Fprintf(&b, "    %s: %s\n", name, a.cfg.Facts[name])
	}
	return b.String()
}

//go:embed openapi.yaml
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	write(w, http.StatusOK, "application/yaml", openAPI)
	return nil
}
