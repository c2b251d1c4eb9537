package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Field is one entry of the table of keys.
type Field struct {
	Section string `json:"section"`         // title of the group it belongs to
	Key     string `json:"key"`             // in YAML; the flag has - for _
	Short   string `json:"short,omitempty"` // one-letter flag, or empty
	Default string `json:"default"`         // as it would be written; empty: unset
	Help    string `json:"help"`
	Type    string `json:"type"` // "string", "int", "float", "bool", "ints", "floats"

	index int
}

// Flag is the name of the field's flag.
func (f *Field) Flag() string { return strings.ReplaceAll(f.Key, "_", "-") }

var fields = table()

func table() []Field {
	names := map[string]string{"string": "string", "int": "int", "float64": "float", "bool": "bool",
		"[]int": "ints", "[]float64": "floats"}
	t := reflect.TypeFor[Config]()
	list := make([]Field, t.NumField())
	section := ""
	for i := range list {
		tag := t.Field(i).Tag
		if s := tag.Get("section"); s != "" {
			section = s
		}
		list[i] = Field{section, tag.Get("key"), tag.Get("short"), tag.Get("default"), tag.Get("help"),
			names[t.Field(i).Type.String()], i}
	}
	return list
}

// Fields is the table of keys in order.
func Fields() []Field { return append([]Field(nil), fields...) }

func find(key string) *Field {
	key = strings.ReplaceAll(key, "-", "_")
	for i := range fields {
		if fields[i].Key == key {
			return &fields[i]
		}
	}
	return nil
}

// Set gives a key a value in writing; lists have commas. It fails on unknown
// keys, naming the nearest known one, and on values of another type.
func (c *Config) Set(key, value string) error {
	f := find(key)
	if f == nil {
		return unknown(key)
	}
	v := reflect.ValueOf(c).Elem().Field(f.index)
	fail := func() error {
		return fmt.Errorf("config: %s: %q is not %s", f.Key, value, map[string]string{
			"int": "a whole number", "float": "a number", "bool": "true or false",
			"ints": "a list of whole numbers", "floats": "a list of numbers"}[f.Type])
	}
	value = strings.TrimSpace(value)
	switch f.Type {
	case "string":
		v.SetString(value)
	case "int":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fail()
		}
		v.SetInt(int64(n))
	case "float":
		x, err := parseFloat(value)
		if err != nil {
			return fail()
		}
		v.SetFloat(x)
	case "bool":
		b, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return fail()
		}
		v.SetBool(b)
	default:
		list := reflect.MakeSlice(v.Type(), 0, 2)
		for _, part := range strings.Fields(strings.ReplaceAll(value, ",", " ")) {
			item := reflect.New(v.Type().Elem()).Elem()
			var err error
			if f.Type == "ints" {
				var n int
				n, err = strconv.Atoi(part)
				item.SetInt(int64(n))
			} else {
				var x float64
				x, err = parseFloat(part)
				item.SetFloat(x)
			}
			if err != nil {
				return fail()
			}
			list = reflect.Append(list, item)
		}
		if list.Len() == 0 {
			list = reflect.Zero(v.Type())
		}
		v.Set(list)
	}
	return nil
}

func parseFloat(s string) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
		err = strconv.ErrRange
	}
	return x, err
}

// Get is a key's value in writing, as Set takes it.
func (c *Config) Get(key string) string {
	f := find(key)
	if f == nil {
		return ""
	}
	v := reflect.ValueOf(c).Elem().Field(f.index)
	switch f.Type {
	case "float":
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case "ints", "floats":
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = fmt.Sprint(v.Index(i).Interface())
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

// Changes names what this configuration has otherwise than an earlier one, but for some keys: "lr 0.1 (was 0.05)".
func (c *Config) Changes(before *Config, except ...string) []string {
	var changes []string
	for _, field := range fields {
		was, is := before.Get(field.Key), c.Get(field.Key)
		if was != is && !slices.Contains(except, field.Key) {
			changes = append(changes, fmt.Sprintf("%s %s (was %s)", field.Key, orNothing(is), orNothing(was)))
		}
	}
	return changes
}

// value is a field's value as its Go type.
func (c *Config) value(f *Field) any { return reflect.ValueOf(c).Elem().Field(f.index).Interface() }
