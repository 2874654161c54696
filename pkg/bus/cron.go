package bus

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones, for the engine too, where the system has none

	"github.com/signalmesh/signalmesh/pkg/fault"
)

const everyPrefix = "@every "

// The fields of a cron expression.
const (
	cronSecond = iota
	cronMinute
	cronHour
	cronDay
	cronMonth
	cronWeekday
	cronFields
)

// bounds are what a field may hold.
var bounds = [cronFields]struct {
	name     string
	min, max int
	words    []string // the first stands for min
}{
	{"second", 0, 59, nil},
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of the week", 0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var cronWords = map[string]string{
	"@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
	"@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}

// when says when a schedule fires, as the engine understands it: that fires, this only
// checks and foretells.
type when struct {
	every time.Duration
	cron  *cron
	text  string // of the cron expression, with six fields
}

// cron is the set of each field, and whether the days are any.
type cron struct {
	sets            [cronFields]uint64
	anyDay, anyWeek bool
	zone            *time.Location
}

// parseWhen checks a When and its zone.
func parseWhen(text, zone string) (when, error) {
	if interval, ok := strings.CutPrefix(text, everyPrefix); ok {
		d, err := time.ParseDuration(strings.TrimSpace(interval))
		switch {
		case err != nil:
			return when{}, fault.Newf(fault.Invalid, "%.64q is not a duration such as 5m", interval)
		case d < time.Second:
			return when{}, fault.Newf(fault.Invalid, "an interval of %s is shorter than a second", d)
		case zone != "":
			return when{}, fault.Newf(fault.Invalid, "an interval has no time zone")
		}
		return when{every: d}, nil
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return when{}, fault.Newf(fault.Invalid, "time zone %.64q is not known; want one such as Europe/Berlin", zone)
	}
	if word, ok := cronWords[text]; ok {
		text = word
	}
	fields := strings.Fields(text)
	if len(fields) == cronFields-1 {
		fields = append([]string{"0"}, fields...)
	}
	if len(fields) != cronFields {
		return when{}, fault.Hint(fault.Newf(fault.Invalid, "%.64q is not a time: %d fields, want 5 or 6", text, len(fields)),
			`a cron expression such as "0 9 * * mon-fri", @hourly, @daily, or "@every 5m"`)
	}
	c := &cron{zone: loc}
	for i, f := range fields {
		if c.sets[i], err = cronSet(f, i); err != nil {
			return when{}, fault.Newf(fault.Invalid, "%s %.64q: %w", bounds[i].name, f, err)
		}
	}
	c.anyDay, c.anyWeek = isAny(fields[cronDay]), isAny(fields[cronWeekday])
	w := when{cron: c, text: strings.Join(fields, " ")}
	if w.after(time.Now()).IsZero() {
		return when{}, fault.Newf(fault.Invalid, "%.64q is no time in the next five years", text)
	}
	return w, nil
}

// isAny reports whether a field of days leaves the choice to the other one.
func isAny(field string) bool {
	for part := range strings.SplitSeq(field, ",") {
		lead, step, _ := strings.Cut(part, "/")
		if (lead == "*" || lead == "?") && (step == "" || step == "1") {
			return true
		}
	}
	return false
}

// cronSet is the set of numbers that a field stands for: parts between commas, each of them
// "*", a number or a range, and after a slash a step.
func cronSet(field string, i int) (set uint64, err error) {
	b := bounds[i]
	for part := range strings.SplitSeq(field, ",") {
		lead, stepText, stepped := strings.Cut(part, "/")
		low, high, ranged := strings.Cut(lead, "-")
		from, to, step := b.min, b.max, 1
		if lead != "*" && lead != "?" {
			if from, err = cronNumber(low, i); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				to, err = cronNumber(high, i)
			case !stepped:
				to = from
			}
			if err != nil {
				return 0, err
			}
		}
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fault.Newf(fault.Invalid, "the step %.16q is not a positive number", stepText)
			}
		}
		if from > to {
			return 0, fault.Newf(fault.Invalid, "the range %.32q is backwards", lead)
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

func cronNumber(text string, i int) (int, error) {
	b := bounds[i]
	for n, word := range b.words {
		if strings.EqualFold(text, word) {
			return b.min + n, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < b.min || n > b.max {
		return 0, fault.Newf(fault.Invalid, "%.16q is not from %d to %d", text, b.min, b.max)
	}
	return n, nil
}

// engine is how the engine is told.
func (w when) engine() string {
	if w.cron == nil {
		return everyPrefix + w.every.String()
	}
	return w.text
}

// after is the first firing after t of a schedule that was put at t; zero if there is none
// within five years.
func (w when) after(t time.Time) time.Time {
	if w.cron == nil {
		return t.UTC().Round(time.Second).Add(w.every)
	}
	return w.cron.after(t)
}

func (c *cron) after(t time.Time) time.Time {
	t = t.In(c.zone).Truncate(time.Second).Add(time.Second)
	for last := t.Year() + 5; t.Year() <= last; {
		switch {
		case !c.has(cronMonth, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, c.zone)
		case !c.day(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, c.zone)
		case !c.has(cronHour, t.Hour()):
			into := time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
			t = t.Add(time.Hour - into)
		case !c.has(cronMinute, t.Minute()):
			t = t.Add(time.Minute - time.Duration(t.Second())*time.Second)
		case !c.has(cronSecond, t.Second()):
			t = t.Add(time.Second)
		default:
			return t.UTC()
		}
	}
	return time.Time{}
}

func (c *cron) has(field, n int) bool { return c.sets[field]&(1<<n) != 0 }

// day asks for both days to fit if one of them is any, and for one of them otherwise, as
// cron always has.
func (c *cron) day(t time.Time) bool {
	day, week := c.has(cronDay, t.Day()), c.has(cronWeekday, int(t.Weekday()))
	if c.anyDay || c.anyWeek {
		return day && week
	}
	return day || week
}
