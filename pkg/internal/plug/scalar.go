package plug

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/secret"
)

// scalar decodes strings, bools and numbers.
func (d *decoder) scalar(n Node, v reflect.Value, f field) {
	switch v.Kind() {
	case reflect.String:
		d.string(n, v, f)
	case reflect.Bool:
		if n.tree.kind != kindBool {
			d.addf(n.tree, n.path, "expected true or false, found %s", n.describe())
			return
		}
		v.SetBool(n.tree.text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(n, v, f)
	case reflect.Float32, reflect.Float64:
		d.float(n, v, f)
	default:
		panic(fmt.Sprintf("plug: %s: no document can fill a %s", n.path, v.Type()))
	}
}

func (d *decoder) string(n Node, v reflect.Value, f field) {
	if !d.isText(n, "a string") || !d.inEnum(n, f) {
		return
	}
	v.SetString(n.tree.text)
}

// isText reports whether n is a string. Numbers and bools are not: 1.10 would be "1.1" to
// half of all readers.
func (d *decoder) isText(n Node, want string) bool {
	switch {
	case n.tree.kind == kindString:
		return true
	case n.IsScalar():
		d.addf(n.tree, n.path, "expected %s, found %s; put it in quotes", want, n.describe())
	default:
		d.addf(n.tree, n.path, "expected %s, found %s", want, n.describe())
	}
	return false
}

func (d *decoder) inEnum(n Node, f field) bool {
	if len(f.enum) == 0 || slices.Contains(f.enum, n.tree.text) {
		return true
	}
	text := fmt.Sprintf("%q is not one of %s", n.tree.text, strings.Join(f.enum, ", "))
	if best := closest(n.tree.text, f.enum); best != "" {
		text += fmt.Sprintf("; did you mean %q?", best)
	}
	d.add(n.tree, n.path, text)
	return false
}

// integer reads a whole number exactly; 5.0 and 1e3 are whole too.
func (d *decoder) integer(n Node, v reflect.Value, f field) {
	i, ok := n.tree.integer()
	if !ok {
		d.addf(n.tree, n.path, "expected a whole number, found %s", n.describe())
		return
	}
	low, high := bounds(v.Type())
	if f.min != "" {
		low = mustInt(f.min)
	}
	if f.max != "" {
		high = mustInt(f.max)
	}
	if i.Cmp(low) < 0 || i.Cmp(high) > 0 {
		d.addf(n.tree, n.path, "%s is out of bounds, expected %s to %s", n.tree.text, low, high)
		return
	}
	if v.CanInt() {
		v.SetInt(i.Int64())
	} else {
		v.SetUint(i.Uint64())
	}
}

func (t *tree) integer() (*big.Int, bool) {
	switch t.kind {
	case kindInt:
		return new(big.Int).SetString(strings.ReplaceAll(t.text, "_", ""), 0)
	case kindFloat:
		f, err := t.float()
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return nil, false
		}
		i, _ := big.NewFloat(f).Int(nil)
		return i, true
	default:
		return nil, false
	}
}

func bounds(t reflect.Type) (low, high *big.Int) {
	one := big.NewInt(1)
	switch t.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		high = new(big.Int).Lsh(one, uint(t.Bits()))
		return new(big.Int), high.Sub(high, one)
	default:
		high = new(big.Int).Lsh(one, uint(t.Bits()-1))
		return new(big.Int).Neg(high), new(big.Int).Sub(high, one)
	}
}

func (d *decoder) float(n Node, v reflect.Value, f field) {
	if n.tree.kind != kindInt && n.tree.kind != kindFloat {
		d.addf(n.tree, n.path, "expected a number, found %s", n.describe())
		return
	}
	x, err := n.tree.float()
	switch {
	case err != nil || math.IsNaN(x) || math.IsInf(x, 0):
		d.addf(n.tree, n.path, "expected a finite number, found %s", n.tree.text)
	case f.min != "" && x < mustFloat(f.min):
		d.addf(n.tree, n.path, "%s is out of bounds, expected at least %s", n.tree.text, f.min)
	case f.max != "" && x > mustFloat(f.max):
		d.addf(n.tree, n.path, "%s is out of bounds, expected at most %s", n.tree.text, f.max)
	default:
		v.SetFloat(x)
	}
}

// text decodes through UnmarshalText. A number is handed over as it was written, since a
// type of its own knows what to make of it.
func (d *decoder) text(n Node, v reflect.Value, f field) {
	if n.IsZero() {
		v.SetZero()
		return
	}
	if !n.IsScalar() {
		d.addf(n.tree, n.path, "expected a string, found %s", n.describe())
		return
	}
	if !d.inEnum(n, f) {
		return
	}
	err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.tree.text))
	d.wrap(n, err)
}

// ref decodes a reference to a secret. Nothing of its text may be shown, also when the
// text is a number.
func (d *decoder) ref(n Node, v reflect.Value) {
	if n.IsZero() {
		v.SetZero()
		return
	}
	if n.tree.kind != kindString {
		d.addf(n.tree, n.path, "expected env:NAME or file:/path, found %s", n.tree.kind)
		return
	}
	r, err := secret.Parse(n.tree.text)
	d.wrap(n, err)
	v.Set(reflect.ValueOf(r))
}

// prefix decodes a range of addresses; netip's own errors speak of its functions.
func (d *decoder) prefix(n Node, v reflect.Value) {
	if n.IsZero() {
		v.SetZero()
		return
	}
	p, err := netip.ParsePrefix(n.Text())
	if err != nil {
		d.addf(n.tree, n.path, "expected a range of addresses such as 10.0.0.0/8 or ::1/128, found %s", found(n))
		return
	}
	v.Set(reflect.ValueOf(p))
}

func (d *decoder) duration(n Node, v reflect.Value, f field) {
	if n.IsZero() {
		v.SetZero()
		return
	}
	if n.tree.kind == kindInt && n.tree.text != "0" {
		d.addf(n.tree, n.path, "expected a duration, found the number %s; write the unit, such as %ss", n.tree.text, n.tree.text)
		return
	}
	x, err := ParseDuration(n.tree.text)
	if !n.IsScalar() || err != nil {
		d.addf(n.tree, n.path, "expected a duration such as 500ms, 5s or 7d, found %s", found(n))
		return
	}
	d.within(n, v, int64(x), f, "0s", func(s string) (int64, error) {
		x, err := ParseDuration(s)
		return int64(x), err
	})
}

func (d *decoder) size(n Node, v reflect.Value, f field) {
	if n.IsZero() {
		v.SetZero()
		return
	}
	x, err := ParseSize(n.tree.text)
	if !n.IsScalar() || err != nil {
		d.addf(n.tree, n.path, "expected a size such as 512KiB or 10MB, found %s", found(n))
		return
	}
	d.within(n, v, int64(x), f, "0", func(s string) (int64, error) {
		x, err := ParseSize(s)
		return int64(x), err
	})
}

func found(n Node) string {
	if n.tree.kind == kindString {
		return strconv.Quote(n.tree.text)
	}
	return n.describe()
}

// within sets v to x when x is inside the bounds of f; without a min, zero is the lower one.
func (d *decoder) within(n Node, v reflect.Value, x int64, f field, zero string, parse func(string) (int64, error)) {
	low := f.min
	if low == "" {
		low = zero
	}
	switch {
	case x < must(parse(low)):
		d.addf(n.tree, n.path, "%s is out of bounds, expected at least %s", n.tree.text, low)
	case f.max != "" && x > must(parse(f.max)):
		d.addf(n.tree, n.path, "%s is out of bounds, expected at most %s", n.tree.text, f.max)
	default:
		v.SetInt(x)
	}
}

// Value is n as plain Go values: nil, string, bool, int64, uint64, float64, []any and
// map[string]any. Whole numbers beyond 64 bits are float64.
func (n Node) Value() (any, error) {
	if n.IsZero() {
		return nil, nil
	}
	switch n.tree.kind {
	case kindBool:
		return n.tree.text == "true", nil
	case kindInt, kindFloat:
		return n.number()
	case kindList:
		return n.values()
	case kindMap:
		return n.mapOfValues()
	default:
		return n.tree.text, nil
	}
}

func (n Node) values() (any, error) {
	list := make([]any, 0, len(n.tree.items))
	for _, item := range n.Items() {
		v, err := item.Value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (n Node) mapOfValues() (any, error) {
	m := make(map[string]any, len(n.tree.keys))
	for _, key := range n.tree.keys {
		v, err := n.Field(key).Value()
		if err != nil {
			return nil, err
		}
		m[key] = v
	}
	return m, nil
}

func (n Node) number() (any, error) {
	if i, ok := n.tree.integer(); ok && n.tree.kind == kindInt {
		switch {
		case i.IsInt64():
			return i.Int64(), nil
		case i.IsUint64():
			return i.Uint64(), nil
		}
		f, _ := new(big.Float).SetInt(i).Float64()
		return f, nil
	}
	f, err := n.tree.float()
	if err != nil {
		return nil, n.Errorf("%s is not a number", n.tree.text)
	}
	return f, nil
}

// The bounds in tags are written by programmers, who get a panic for a bad one.

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("plug: bad bound in a tag: %v", err))
	}
	return v
}

func mustAtoi(s string) int      { return must(strconv.Atoi(s)) }
func mustFloat(s string) float64 { return must(strconv.ParseFloat(s, 64)) }
func mustInt(s string) *big.Int {
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(errors.New("plug: bad bound in a tag: " + s))
	}
	return i
}
