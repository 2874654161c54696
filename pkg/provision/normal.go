package provision

import (
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// withDefaults fills in what the server fills in when it makes a stream, so that a
// definition and the stream made from it compare equal.
func withDefaults(c jetstream.StreamConfig) jetstream.StreamConfig {
	for _, limit := range []*int64{&c.MaxMsgs, &c.MaxBytes, &c.MaxMsgsPerSubject} {
		if *limit <= 0 {
			*limit = -1
		}
	}
	if c.MaxMsgSize <= 0 {
		c.MaxMsgSize = -1
	}
	if c.MaxConsumers <= 0 {
		c.MaxConsumers = -1
	}
	c.Replicas = max(c.Replicas, 1)
	if c.Duplicates == 0 && c.Mirror == nil && len(c.Sources) == 0 {
		c.Duplicates = 2 * time.Minute
		if c.MaxAge > 0 {
			c.Duplicates = min(c.Duplicates, c.MaxAge)
		}
	}
	if c.SubjectDeleteMarkerTTL > 0 {
		c.AllowMsgTTL = true
	}
	if (c.SubjectDeleteMarkerTTL > 0 || c.AllowMsgSchedules) && !c.AllowRollup {
		c.AllowRollup, c.DenyPurge = true, false
	}
	c.Metadata = ownMetadata(c.Metadata)
	return c
}

// ownMetadata leaves out what the server writes about itself.
func ownMetadata(all map[string]string) map[string]string {
	own := maps.Clone(all)
	maps.DeleteFunc(own, func(k, _ string) bool { return strings.HasPrefix(k, "_nats.") })
	if len(own) == 0 {
		return nil
	}
	return own
}
