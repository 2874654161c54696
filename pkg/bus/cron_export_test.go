package bus

import "time"

// NextFiring is when a schedule that is put at t fires first.
func NextFiring(text, zone string, t time.Time) (time.Time, error) {
	w, err := parseWhen(text, zone)
	if err != nil {
		return time.Time{}, err
	}
	return w.after(t), nil
}
