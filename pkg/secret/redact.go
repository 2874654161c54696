package secret

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// Redact replaces every occurrence of every secret in s with "[redacted]", also where it
// is written escaped as in a URL. Empty secrets are ignored.
func Redact(s string, secrets ...string) string {
	var forms []string
	for _, secret := range secrets {
		if secret != "" {
			forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret))
		}
	}
	// Longest first: a secret that contains another must go whole.
	slices.SortFunc(forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, Redacted)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// sensitive are the words that make a name sensitive, as a whole or as one of its parts
// ("access_token", "X-Amz-Signature").
var sensitive = map[string]bool{
	"apikey": true, "auth": true, "authorization": true, "code": true, "credential": true,
	"credentials": true, "jwt": true, "key": true, "pass": true, "passwd": true,
	"password": true, "pwd": true, "secret": true, "sig": true, "signature": true,
	"token": true,
}

// IsSensitive reports whether the name of a parameter, header or key says that its value is
// a secret: "api_key", "X-Auth-Token", "password".
func IsSensitive(name string) bool {
	name = strings.ToLower(name)
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune("-_.[]", r) }) {
		if sensitive[part] {
			return true
		}
	}
	return strings.HasSuffix(name, "token") || strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "key")
}

// URL returns raw with the user information and the values of sensitive query parameters
// (tokens, keys, signatures, passwords) masked. Order and spelling of the rest are kept. A
// text that does not parse as a URL is not shown at all. Secrets in a path can't be told
// from other words, and stay.
func URL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return Redacted
	}
	if u.User != nil {
		u.User = url.User("xxxxx")
	}
	if u.RawQuery != "" {
		u.RawQuery = maskQuery(u.RawQuery)
	}
	if strings.Contains(u.Fragment, "=") { // OAuth answers carry tokens there
		u.Fragment, u.RawFragment = "xxxxx", ""
	}
	return u.String()
}

func maskQuery(raw string) string {
	params := strings.Split(raw, "&")
	for i, p := range params {
		name, value, found := strings.Cut(p, "=")
		plain, err := url.QueryUnescape(name)
		if found && value != "" && (err != nil || IsSensitive(plain)) {
			params[i] = name + "=xxxxx"
		}
	}
	return strings.Join(params, "&")
}
