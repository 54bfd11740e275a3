package chttptest

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/certifiedhttp/chttp"
)

// differ finds the first difference between a value and what a codec has made of it.
type differ struct {
	codec chttp.Codec
	where string // ".Items[2].price"
	why   string
}

// deepest is how deep values are compared.
const deepest = 100

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// found notes a difference. It returns false.
func (d *differ) found(where, format string, args ...any) bool {
	d.where, d.why = where, fmt.Sprintf(format, args...)
	return false
}

// compare is true where now is what was was.
func (d *differ) compare(where string, was, now reflect.Value, depth int) bool {
	if depth > deepest {
		return true
	}
	if was.IsValid() != now.IsValid() {
		return d.found(where, "is %s and comes back as %s", show(was), show(now))
	}
	if !was.IsValid() {
		return true
	}
	if was.Type() != now.Type() {
		return d.found(where, "holds %s and comes back as %s: an interface does not say what it held", show(was), show(now))
	}
	if same, known := d.byMethod(where, was, now); known {
		return same
	}
	switch was.Kind() {
	case reflect.Pointer, reflect.Interface:
		if was.IsNil() || now.IsNil() {
			if was.IsNil() != now.IsNil() {
				return d.found(where, "is %s and comes back as %s", show(was), show(now))
			}
			return true
		}
		return d.compare(where, was.Elem(), now.Elem(), depth+1)
	case reflect.Struct:
		return d.fields(where, was, now, depth)
	case reflect.Slice, reflect.Array:
		if was.Len() != now.Len() {
			return d.found(where, "has %d elements and comes back with %d", was.Len(), now.Len())
		}
		for i := range was.Len() {
			if !d.compare(fmt.Sprintf("%s[%d]", where, i), was.Index(i), now.Index(i), depth+1) {
				return false
			}
		}
		return true
	case reflect.Map:
		return d.entries(where, was, now, depth)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		if was.IsNil() {
			return true
		}
		return d.found(where, "is a %s, which is lost", was.Kind())
	case reflect.Float32, reflect.Float64:
		if was.Float() == now.Float() || math.IsNaN(was.Float()) && math.IsNaN(now.Float()) {
			return true
		}
	default:
		if was.Equal(now) {
			return true
		}
	}
	return d.found(where, "is %s and comes back as %s", show(was), show(now))
}

func (d *differ) fields(where string, was, now reflect.Value, depth int) bool {
	for i := range was.NumField() {
		f := was.Type().Field(i)
		at := where + "." + f.Name
		if was.Field(i).IsZero() && now.Field(i).IsZero() {
			continue
		}
		switch lost := now.Field(i).IsZero(); {
		case lost && !f.IsExported():
			return d.found(at, "is not exported, and is lost")
		case lost && f.Tag.Get("json") == "-":
			return d.found(at, "is left out (json:\"-\"), and is lost")
		case !d.compare(at, was.Field(i), now.Field(i), depth+1):
			return false
		}
	}
	return true
}

func (d *differ) entries(where string, was, now reflect.Value, depth int) bool {
	if was.Len() != now.Len() {
		return d.found(where, "has %d entries and comes back with %d", was.Len(), now.Len())
	}
	for _, k := range was.MapKeys() {
		v := now.MapIndex(k)
		if !v.IsValid() {
			return d.found(where, "has the key %s, which is lost", show(k))
		}
		if !d.compare(fmt.Sprintf("%s[%s]", where, show(k)), was.MapIndex(k), v, depth+1) {
			return false
		}
	}
	return true
}

// byMethod compares what knows better than its fields: times, and types that have an Equal or that write themselves.
func (d *differ) byMethod(where string, was, now reflect.Value) (same, known bool) {
	t := was.Type()
	if !was.CanInterface() {
		if t == timeType {
			return true, true // Its fields cannot be told.
		}
		return false, false
	}
	switch {
	case t == timeType:
		return d.times(where, was.Interface().(time.Time), now.Interface().(time.Time)), true
	case t == rawType:
		var a, b bytes.Buffer
		if json.Compact(&a, was.Bytes()) == nil && json.Compact(&b, now.Bytes()) == nil && a.String() == b.String() {
			return true, true
		}
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
		return false, false
	}
	if m, ok := t.MethodByName("Equal"); ok && m.Type.NumIn() == 2 && m.Type.In(1) == t && m.Type.NumOut() == 1 && m.Type.Out(0).Kind() == reflect.Bool {
		if m.Func.Call([]reflect.Value{was, now})[0].Bool() {
			return true, true
		}
		return d.found(where, "is %s and comes back as %s", show(was), show(now)), true
	}
	if d.writesItself(t) {
		a, errA := d.codec.Marshal(pointerTo(was))
		b, errB := d.codec.Marshal(pointerTo(now))
		if errA == nil && errB == nil && bytes.Equal(a, b) {
			return true, true
		}
		return d.found(where, "is %s and comes back as %s", show(was), show(now)), true
	}
	return false, false
}

func pointerTo(v reflect.Value) any {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Interface()
}

// writers are the interfaces of types that know how to write what is in them; encoding/json looks for the first two.
var writers = []reflect.Type{
	reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.BinaryMarshaler](),
	reflect.TypeFor[interface{ GobEncode() ([]byte, error) }](),
}

func (d *differ) writesItself(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	if _, proto := reflect.PointerTo(t).MethodByName("ProtoReflect"); proto {
		return true
	}
	list := writers
	if _, ok := d.codec.(jsonCodec); ok {
		list = writers[:2]
	}
	for _, w := range list {
		if t.Implements(w) || reflect.PointerTo(t).Implements(w) {
			return true
		}
	}
	return false
}

// times compares what a time is and in which zone it is shown.
func (d *differ) times(where string, was, now time.Time) bool {
	_, offA := was.Zone()
	_, offB := now.Zone()
	switch {
	case !was.Equal(now):
		return d.found(where, "is %v and comes back as %v", was.Round(0), now)
	case offA != offB:
		return d.found(where, "is %v and comes back as %v, in another zone", was.Round(0), now)
	case was.Location().String() == now.Location().String(), plain(was.Location()) && plain(now.Location()):
		return true
	}
	return d.found(where, "is in the location %q and comes back in %q: arithmetic with days and months is another where clocks are changed. Keep the location's name beside it, or use UTC",
		was.Location(), now.Location())
}

// plain tells whether a location is one that code does not care for.
func plain(l *time.Location) bool { return l == time.UTC || l == time.Local || l.String() == "UTC" }

// show shows a value to people.
func show(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	var s string
	switch {
	case v.Kind() == reflect.Interface && !v.IsNil():
		return show(v.Elem())
	case v.CanInterface():
		s = fmt.Sprintf("%#v", v.Interface())
	default:
		s = fmt.Sprintf("%#v", v)
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		s = fmt.Sprintf("%s(%v)", v.Type(), v)
	}
	return shortText(s)
}
