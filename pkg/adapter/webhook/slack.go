package webhook

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// slack is the preset for Slack: the Events API, slash commands and interactions. The
// url_verification handshake is answered once its signature fits; it makes no signal.
//
//	id       event_id, or the trigger_id of a command or interaction
//	type     slack.<event type>: slack.message, slack.app_mention; slack.command.<name>;
//	         slack.<interaction type>: slack.block_actions
//	source   /slack/<team>, else /slack
//	subject  the channel, else the user
//	time     when the event happened
var slack = preset{
	json: true,
	id:   func(d *delivery) string { return first(d.text("event_id"), d.text("trigger_id")) },
	typ:  slackType,
	source: func(d *delivery) string {
		return "/slack" + under("/", first(d.text("team_id"), d.text("team", "id"), d.text("enterprise_id")))
	},
	subject: func(d *delivery) string {
		return first(d.text("event", "channel"), d.text("event", "channel", "id"), d.text("event", "item", "channel"),
			d.text("channel_id"), d.text("channel", "id"),
			d.text("event", "user"), d.text("event", "user", "id"), d.text("user_id"), d.text("user", "id"))
	},
	time:  func(d *delivery) time.Time { return moment(d.text("event_time")) },
	reply: slackReply,
}

func slackType(d *delivery) (string, error) {
	switch {
	case d.text("command") != "":
		return dotted("slack.command", strings.TrimPrefix(d.text("command"), "/")), nil
	case d.text("event", "type") != "":
		return dotted("slack", d.text("event", "type")), nil
	case d.text("type") != "":
		return dotted("slack", d.text("type")), nil
	}
	return "", fault.Newf(fault.Invalid, "body is neither an event, nor a command, nor an interaction")
}

// slackReply answers the handshake, and commands and interactions: Slack shows the body
// of their answer to the person who asked, so it is empty.
func slackReply(d *delivery) (reply *ingress.Reply, handshake bool) {
	switch {
	case d.text("type") == "url_verification":
		body, err := json.Marshal(map[string]string{"challenge": d.text("challenge")})
		if err != nil {
			return nil, false // a map of strings always marshals
		}
		return &ingress.Reply{Status: http.StatusOK, ContentType: "application/json", Body: body}, true
	case d.form:
		return &ingress.Reply{Status: http.StatusOK}, false
	}
	return nil, false
}

// verifySlack checks X-Slack-Signature: v0=<hex HMAC of "v0:<timestamp>:<body>">.
func verifySlack(k keys, window time.Duration) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		value, err := one(r.Header, "X-Slack-Signature")
		if err != nil {
			return err
		}
		at, err := one(r.Header, "X-Slack-Request-Timestamp")
		if err != nil {
			return err
		}
		mac, ok := hexAfter(value, "v0=")
		if !ok || !k.fits(sha256.New, mac, []byte("v0:"+at+":"), r.Body) {
			return errMismatch
		}
		return fresh(at, r.At, window)
	})
}
