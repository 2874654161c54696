package webhook

import (
	"crypto/sha256"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// github is the preset for GitHub, for every kind of event it sends: webhooks of
// repositories, organizations and enterprises, of apps, sponsors and the marketplace, as
// application/json or as a form.
//
//	id       X-GitHub-Delivery, which stays the same when GitHub delivers again
//	type     github.<event>[.<action>]: github.push, github.pull_request.opened
//	source   /github/<owner>/<repository>, else what the event belongs to instead:
//	         /github/<organization>, /github/enterprises/<enterprise>,
//	         /github/<account of the installation>, /github/installations/<id>; /github
//	         for what belongs to none, such as security advisories
//	subject  the thing the event is about, so that all that happens to it is one
//	         conversation: octo/repo#12 (issue, pull request, discussion),
//	         octo/repo@<commit> (checks, statuses, workflow runs, deployments),
//	         octo/repo@heads/<branch> or @tags/<tag> (pushes, branches, tags, releases); else the login of the sender
var github = preset{
	json:    true,
	id:      func(d *delivery) string { return d.header("X-GitHub-Delivery") },
	typ:     githubType,
	source:  githubSource,
	subject: githubSubject,
}

func githubType(d *delivery) (string, error) {
	event := d.header("X-GitHub-Event")
	if event == "" {
		return "", fault.Newf(fault.Invalid, "no X-GitHub-Event header")
	}
	return dotted("github", event, d.text("action")), nil
}

func githubSource(d *delivery) string {
	if name := first(
		d.text("repository", "full_name"),
		d.text("organization", "login"),
		under("enterprises/", d.text("enterprise", "slug")),
		d.text("installation", "account", "login"),
		under("installations/", d.text("installation", "id")),
	); name != "" {
		return "/github/" + name
	}
	return "/github"
}

func githubSubject(d *delivery) string {
	repository := d.text("repository", "full_name")
	number := first(d.text("issue", "number"), d.text("pull_request", "number"), d.text("discussion", "number"))
	at := first(
		d.text("check_run", "head_sha"), d.text("check_suite", "head_sha"), d.text("merge_group", "head_sha"),
		d.text("workflow_run", "head_sha"), d.text("workflow_job", "head_sha"), d.text("deployment", "sha"),
		d.text("comment", "commit_id"), d.text("sha"), githubRef(d),
	)
	switch {
	case repository == "":
	case number != "":
		return repository + "#" + number
	case at != "":
		return repository + "@" + at
	}
	return d.text("sender", "login")
}

// githubRef names the branch or tag of an event in one form, heads/main or tags/v1:
// pushes hold a full ref, creations and deletions a bare one, releases a tag.
func githubRef(d *delivery) string {
	ref := strings.TrimPrefix(d.text("ref"), "refs/")
	switch d.text("ref_type") {
	case "branch":
		return under("heads/", ref)
	case "tag":
		return under("tags/", ref)
	}
	return first(ref, under("tags/", d.text("release", "tag_name")))
}

// verifyGitHub checks X-Hub-Signature-256: sha256=<hex HMAC of the body>.
// GitHub signs no time, so there is no replay window: repeats are caught by their id.
func verifyGitHub(k keys) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		value, err := one(r.Header, "X-Hub-Signature-256")
		if err != nil {
			return fault.Hint(err, "give the webhook at GitHub a secret, the one this source refers to")
		}
		mac, ok := hexAfter(value, "sha256=")
		if !ok || !k.fits(sha256.New, mac, r.Body) {
			return errMismatch
		}
		return nil
	})
}
