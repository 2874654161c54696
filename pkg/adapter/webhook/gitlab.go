package webhook

import (
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// gitlab is the preset for GitLab: project, group and system hooks.
//
//	id       Idempotency-Key, which stays the same over retries. Older servers send none:
//	         then X-Gitlab-Event-UUID and a hash of the body, since hooks that set off
//	         each other share one UUID
//	type     gitlab.<kind>[.<action>]: gitlab.push, gitlab.merge_request.open
//	source   /gitlab/<path of the project>, else /gitlab/<path of the group>, else /gitlab
//	subject  group/project!12 (merge request), group/project#12 (issue),
//	         group/project@<ref> (pushes, pipelines); else the user
var gitlab = preset{
	json: true,
	id: func(d *delivery) string {
		uuid := d.header("X-Gitlab-Event-UUID")
		if key := d.header("Idempotency-Key"); key != "" || uuid == "" {
			return key
		}
		return uuid + "-" + digest(d.request.Body)
	},
	typ:     gitlabType,
	source:  gitlabSource,
	subject: gitlabSubject,
}

func gitlabType(d *delivery) (string, error) {
	kind := first(d.text("object_kind"), d.text("event_name"))
	if kind == "" {
		kind = strings.ToLower(strings.TrimSuffix(d.header("X-Gitlab-Event"), " Hook"))
	}
	if kind == "" {
		return "", fault.Newf(fault.Invalid, "neither object_kind nor event_name in the body, and no X-Gitlab-Event header")
	}
	return dotted("gitlab", strings.ReplaceAll(kind, " ", "_"), d.text("object_attributes", "action")), nil
}

func gitlabSource(d *delivery) string {
	return "/gitlab" + under("/", first(
		d.text("project", "path_with_namespace"), d.text("path_with_namespace"),
		d.text("group", "full_path"), d.text("full_path"), d.text("group", "group_path"), d.text("group_path"),
	))
}

func gitlabSubject(d *delivery) string {
	project := d.text("project", "path_with_namespace")
	mergeRequest, issue := d.text("merge_request", "iid"), d.text("issue", "iid")
	switch d.text("object_kind") {
	case "merge_request":
		mergeRequest = d.text("object_attributes", "iid")
	case "issue", "work_item":
		issue = d.text("object_attributes", "iid")
	}
	switch ref := first(d.text("ref"), d.text("object_attributes", "ref")); {
	case project == "":
	case mergeRequest != "":
		return project + "!" + mergeRequest
	case issue != "":
		return project + "#" + issue
	case ref != "":
		return project + "@" + strings.TrimPrefix(ref, "refs/")
	}
	return first(d.text("user_username"), d.text("user", "username"), d.text("username"))
}

// verifyGitLab compares X-Gitlab-Token with the secret. It is a password sent along,
// not a signature: the body is only as safe as the connection.
func verifyGitLab(k keys) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		token, err := one(r.Header, "X-Gitlab-Token")
		if err != nil {
			return fault.Hint(err, "give the webhook at GitLab a secret token, the one this source refers to")
		}
		if !k.equals(token) {
			return refuse("X-Gitlab-Token is not the one expected")
		}
		return nil
	})
}
