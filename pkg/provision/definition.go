package provision

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// Kind says what a definition makes.
type Kind string

// The kinds, as they are written in files.
const (
	Stream Kind = "stream"
	Bucket Kind = "bucket" // a KV bucket, which is a stream of a certain layout
)

// A Definition is one stream or bucket as it should be.
type Definition struct {
	Kind   Kind
	Name   string                 // of the stream, or of the bucket without "KV_"
	File   string                 // where it was read, "signals.yaml:4"
	Config jetstream.StreamConfig // with everything the server would fill in
}

// streamSpec is a `stream:` document. The keys are those of NATS' JSON.
type streamSpec struct {
	Name        string   `json:"name" required:"true" doc:"name of the stream"`
	Description string   `json:"description" doc:"what it holds, for people"`
	Subjects    []string `json:"subjects" doc:"subjects whose messages are stored"`

	Retention   string `json:"retention" enum:"limits|interest|workqueue" default:"limits" doc:"when a message goes away"`
	Storage     string `json:"storage" enum:"file|memory" default:"file" doc:"where messages are kept"`
	Compression string `json:"compression" enum:"none|s2" default:"none" doc:"of full blocks on disk"`
	Discard     string `json:"discard" enum:"old|new" default:"old" doc:"what gives way when a limit is reached"`

	DiscardNewPerSubject bool          `json:"discard_new_per_subject" doc:"with discard new, per subject"`
	MaxAge               time.Duration `json:"max_age" doc:"messages older than this are dropped; 0 keeps them"`
	MaxBytes             plug.Size     `json:"max_bytes" doc:"size of the stream, reserved on the server; 0 is unlimited"`
	MaxMsgs              int64         `json:"max_msgs" min:"0" doc:"number of messages; 0 is unlimited"`
	MaxMsgsPerSubject    int64         `json:"max_msgs_per_subject" min:"0" doc:"messages per subject; 0 is unlimited"`
	MaxMsgSize           plug.Size     `json:"max_msg_size" max:"2147483647" doc:"size of one message; 0 is the server's limit"`
	MaxConsumers         int           `json:"max_consumers" min:"0" doc:"number of consumers; 0 is the server's limit"`
	DuplicateWindow      time.Duration `json:"duplicate_window" doc:"how long message ids are remembered; 2m, or max_age if that is less"`
	FirstSeq             uint64        `json:"first_seq" doc:"number of the first message"`
	Replicas             int           `json:"num_replicas" min:"0" max:"5" doc:"copies in a cluster"`

	Placement        *placementSpec    `json:"placement" doc:"where in a cluster"`
	Mirror           *sourceSpec       `json:"mirror" doc:"the stream that this one is a copy of"`
	Sources          []sourceSpec      `json:"sources" doc:"streams that are gathered here"`
	SubjectTransform *transformSpec    `json:"subject_transform" doc:"renames subjects as they come in"`
	Republish        *republishSpec    `json:"republish" doc:"publishes again what was stored"`
	ConsumerLimits   limitsSpec        `json:"consumer_limits" doc:"bounds of its consumers"`
	Metadata         map[string]string `json:"metadata" doc:"labels"`

	AllowDirect       bool `json:"allow_direct" doc:"reads by position without a consumer"`
	MirrorDirect      bool `json:"mirror_direct" doc:"a mirror answers direct reads too"`
	AllowRollup       bool `json:"allow_rollup_hdrs" doc:"a header may replace everything stored"`
	DenyDelete        bool `json:"deny_delete" doc:"no message can be deleted; can't be undone"`
	DenyPurge         bool `json:"deny_purge" doc:"it can't be purged; can't be undone"`
	AllowAtomic       bool `json:"allow_atomic" doc:"batches that are stored whole or not at all"`
	AllowBatched      bool `json:"allow_batched" doc:"fast batches"`
	AllowMsgTTL       bool `json:"allow_msg_ttl" doc:"messages with their own lifetime; can't be undone"`
	AllowMsgSchedules bool `json:"allow_msg_schedules" doc:"messages that are published later; can't be undone"`
	AllowMsgCounter   bool `json:"allow_msg_counter" doc:"subjects that count; can't be changed"`

	SubjectDeleteMarkerTTL time.Duration `json:"subject_delete_marker_ttl" doc:"how long a marker tells of an expired subject"`
}

type placementSpec struct {
	Cluster string   `json:"cluster" doc:"name of the cluster"`
	Tags    []string `json:"tags" doc:"tags that a server must have"`
}

type sourceSpec struct {
	Name          string          `json:"name" required:"true" doc:"name of the other stream"`
	Domain        string          `json:"domain" doc:"its JetStream domain"`
	FilterSubject string          `json:"filter_subject" doc:"only these subjects"`
	StartSeq      uint64          `json:"opt_start_seq" doc:"from this position"`
	Transforms    []transformSpec `json:"subject_transforms" doc:"only these subjects, renamed"`
}

type transformSpec struct {
	Source      string `json:"src" doc:"subjects it applies to"`
	Destination string `json:"dest" required:"true" doc:"their new form"`
}

type republishSpec struct {
	Source      string `json:"src" doc:"subjects it applies to"`
	Destination string `json:"dest" required:"true" doc:"where to"`
	HeadersOnly bool   `json:"headers_only" doc:"without the body"`
}

type limitsSpec struct {
	InactiveThreshold time.Duration `json:"inactive_threshold" doc:"default of how long an unused consumer stays"`
	MaxAckPending     int           `json:"max_ack_pending" min:"0" doc:"bound of unacknowledged messages"`
}

// bucketSpec is a `bucket:` document. The keys are those of NATS' JSON.
type bucketSpec struct {
	Name        string `json:"name" required:"true" doc:"name of the bucket"`
	Description string `json:"description" doc:"what it holds, for people"`

	History        int           `json:"history" min:"1" max:"64" default:"1" doc:"revisions kept per key"`
	TTL            time.Duration `json:"ttl" doc:"how long a value lives; 0 is for ever"`
	LimitMarkerTTL time.Duration `json:"limit_marker_ttl" doc:"how long watchers can learn that a key expired"`
	MaxBytes       plug.Size     `json:"max_bytes" doc:"size of the bucket, which refuses writes when full; 0 is unlimited"`
	MaxValueSize   plug.Size     `json:"max_value_size" max:"2147483647" doc:"size of one value; 0 is the server's limit"`
	Storage        string        `json:"storage" enum:"file|memory" default:"file" doc:"where values are kept"`
	Compression    bool          `json:"compression" doc:"of full blocks on disk"`
	Replicas       int           `json:"num_replicas" min:"0" max:"5" doc:"copies in a cluster"`
	AllowAtomic    bool          `json:"allow_atomic" doc:"batches that are stored whole or not at all"`

	Placement *placementSpec    `json:"placement" doc:"where in a cluster"`
	Metadata  map[string]string `json:"metadata" doc:"labels"`
}

// config is the stream behind the bucket, as every NATS client lays it out.
func (b bucketSpec) config() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        "KV_" + b.Name,
		Description: b.Description,
		Subjects:    []string{fmt.Sprintf("$KV.%s.>", b.Name)},

		MaxMsgsPerSubject: int64(max(b.History, 1)),
		MaxAge:            b.TTL,
		MaxBytes:          int64(b.MaxBytes),
		MaxMsgSize:        int32(b.MaxValueSize),
		Storage:           storages[b.Storage],
		Discard:           jetstream.DiscardNew,
		Replicas:          b.Replicas,
		Placement:         b.Placement.config(),
		Metadata:          b.Metadata,

		AllowDirect: true, AllowRollup: true, DenyDelete: true,
		AllowAtomicPublish:     b.AllowAtomic,
		AllowMsgTTL:            b.LimitMarkerTTL > 0,
		SubjectDeleteMarkerTTL: b.LimitMarkerTTL,
	}
	if b.Compression {
		c.Compression = jetstream.S2Compression
	}
	return c
}

func (s streamSpec) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Name, Description: s.Description, Subjects: s.Subjects,

		Retention:   retentions[s.Retention],
		Storage:     storages[s.Storage],
		Compression: compressions[s.Compression],
		Discard:     discards[s.Discard],

		DiscardNewPerSubject: s.DiscardNewPerSubject,
		MaxAge:               s.MaxAge,
		MaxBytes:             int64(s.MaxBytes),
		MaxMsgs:              s.MaxMsgs,
		MaxMsgsPerSubject:    s.MaxMsgsPerSubject,
		MaxMsgSize:           int32(s.MaxMsgSize),
		MaxConsumers:         s.MaxConsumers,
		Duplicates:           s.DuplicateWindow,
		FirstSeq:             s.FirstSeq,
		Replicas:             s.Replicas,

		Placement:        s.Placement.config(),
		Mirror:           s.Mirror.config(),
		Sources:          sourceConfigs(s.Sources),
		SubjectTransform: s.SubjectTransform.config(),
		RePublish:        s.Republish.config(),
		ConsumerLimits:   jetstream.StreamConsumerLimits(s.ConsumerLimits),
		Metadata:         s.Metadata,

		AllowDirect: s.AllowDirect, MirrorDirect: s.MirrorDirect,
		AllowRollup: s.AllowRollup, DenyDelete: s.DenyDelete, DenyPurge: s.DenyPurge,
		AllowAtomicPublish: s.AllowAtomic, AllowBatchPublish: s.AllowBatched,
		AllowMsgTTL: s.AllowMsgTTL, AllowMsgSchedules: s.AllowMsgSchedules, AllowMsgCounter: s.AllowMsgCounter,

		SubjectDeleteMarkerTTL: s.SubjectDeleteMarkerTTL,
	}
}

var (
	storages     = map[string]jetstream.StorageType{"memory": jetstream.MemoryStorage}
	discards     = map[string]jetstream.DiscardPolicy{"new": jetstream.DiscardNew}
	compressions = map[string]jetstream.StoreCompression{"s2": jetstream.S2Compression}
	retentions   = map[string]jetstream.RetentionPolicy{
		"interest": jetstream.InterestPolicy, "workqueue": jetstream.WorkQueuePolicy,
	}
)

func (p *placementSpec) config() *jetstream.Placement {
	if p == nil || p.Cluster == "" && len(p.Tags) == 0 {
		return nil
	}
	return &jetstream.Placement{Cluster: p.Cluster, Tags: p.Tags}
}

func (s *sourceSpec) config() *jetstream.StreamSource {
	if s == nil {
		return nil
	}
	c := &jetstream.StreamSource{Name: s.Name, OptStartSeq: s.StartSeq, FilterSubject: s.FilterSubject}
	for _, t := range s.Transforms {
		c.SubjectTransforms = append(c.SubjectTransforms, jetstream.SubjectTransformConfig(t))
	}
	if s.Domain != "" { // as the server reports it
		c.External = &jetstream.ExternalStream{APIPrefix: "$JS." + s.Domain + ".API"}
	}
	return c
}

func sourceConfigs(specs []sourceSpec) []*jetstream.StreamSource {
	var all []*jetstream.StreamSource
	for _, s := range specs {
		all = append(all, s.config())
	}
	return all
}

func (t *transformSpec) config() *jetstream.SubjectTransformConfig {
	if t == nil {
		return nil
	}
	return (*jetstream.SubjectTransformConfig)(t)
}

func (r *republishSpec) config() *jetstream.RePublish {
	if r == nil {
		return nil
	}
	return (*jetstream.RePublish)(r)
}
