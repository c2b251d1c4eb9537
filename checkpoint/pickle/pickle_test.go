package pickle

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// canonical prints a value as scripts/peers/make_pickles.py does.
func canonical(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case int64:
		return fmt.Sprint("int ", v)
	case *big.Int:
		return "int " + v.String()
	case float64:
		return "float " + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case complex128:
		b := binary.BigEndian.AppendUint64(nil, math.Float64bits(real(v)))
		return "complex " + hex.EncodeToString(binary.BigEndian.AppendUint64(b, math.Float64bits(imag(v))))
	case string:
		return "str " + hex.EncodeToString([]byte(v))
	case Bytes:
		return "bytes " + hex.EncodeToString(v)
	case Tuple:
		return "tuple(" + canonicalList(v) + ")"
	case *List:
		return "list(" + canonicalList(v.Items) + ")"
	case *Dict:
		var parts []string
		for i := range v.Len() {
			k, x := v.At(i)
			parts = append(parts, canonical(k)+": "+canonical(x))
		}
		return "dict(" + strings.Join(parts, ", ") + ")"
	case Global:
		return "global " + v.String()
	case *Object:
		return "object " + v.Class.String() + " state " + canonical(v.State)
	}
	return fmt.Sprintf("%T", v)
}

func canonicalList(items []any) string {
	var parts []string
	for _, item := range items {
		parts = append(parts, canonical(item))
	}
	return strings.Join(parts, ", ")
}

// TestPython decodes what CPython writes, in every protocol.
func TestPython(t *testing.T) {
	raw, err := os.ReadFile("testdata/pickles.json")
	require.NoError(t, err)
	var cases []struct{ Name, Hex, Canonical string }
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.Greater(t, len(cases), 120)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			data, err := hex.DecodeString(c.Hex)
			require.NoError(t, err)
			v, n, err := Decode(append(data, "rest"...), Config{})
			require.NoError(t, err)
			require.EqualValues(t, len(data), n)
			if strings.HasPrefix(c.Name, "sets") {
				for _, set := range v.(*List).Items { // Python's sets have no order
					items := set.(*List).Items
					slices.SortFunc(items, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
				}
			}
			// Protocols below 2 name Python 2's modules.
			got := strings.NewReplacer("__builtin__.", "builtins.").Replace(canonical(v))
			require.True(t, c.Canonical == got, "want %.300s\ngot  %.300s", c.Canonical, got)
			// Every truncation is an error, never a panic.
			for i := range min(len(data), 400) {
				_, _, err := Decode(data[:i], Config{})
				require.Error(t, err)
			}
		})
	}
}

func op(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			out = append(out, byte(p))
		case rune:
			out = append(out, byte(p))
		case string:
			out = append(out, p...)
		}
	}
	return out
}

// TestNothingRuns decodes the ways in which a pickle can ask for a call. Each is kept as data or refused.
func TestNothingRuns(t *testing.T) {
	const command = "touch owned"
	text := op(opShortBinUnicode, len(command), command)
	system := Global{"os", "system"}
	for name, data := range map[string][]byte{
		"GLOBAL REDUCE":       op("cos\nsystem\n", string(text), opTuple1, "R."),
		"STACK_GLOBAL REDUCE": op(opShortBinUnicode, 2, "os", opShortBinUnicode, 6, "system", opStackGlobal, string(text), opTuple1, "R."),
		"INST":                op("(", string(text), "ios\nsystem\n."),
		"OBJ":                 op("(cos\nsystem\n", string(text), "o."),
		"NEWOBJ":              op("cos\nsystem\n", string(text), opTuple1, opNewObj, "."),
		"NEWOBJ_EX":           op("cos\nsystem\n", string(text), opTuple1, "}", opNewObjEx, "."),
		"memo":                op("cos\nsystem\nq\x07", string(text), opTuple1, "0h\x070h\x07", string(text), opTuple1, "R."),
	} {
		v, _, err := Decode(data, Config{})
		if name == "memo" { // the stack keeps a stray value
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		o, ok := v.(*Object)
		require.True(t, ok, name)
		require.Equal(t, system, o.Class, name)
		require.Equal(t, Tuple{command}, o.Args, name)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"call a result":     {op("cbuiltins\ngetattr\n)R)R."), `calls a "builtins.getattr"`},
		"call text":         {op(string(text), ")R."), "calls a str"},
		"arguments no tupl": {op("cos\nsystem\n]R."), "arguments are a list"},
		"build a global":    {op("cos\nsystem\n}b."), "takes no state"},
		"build text":        {op(string(text), "}b."), "a str takes no state"},
		"build twice":       {op("cos\nsystem\n)R}b}b."), "state twice"},
		"append to text":    {op(string(text), "Na."), "cannot append to a str"},
		"items of a tuple":  {op(")NNs."), "cannot set items of a tuple"},
		"odd items":         {op("}(Nu."), "a key has no value"},
		"list as key":       {op("}]Ns."), "a list cannot be a dictionary key"},
		"persistent":        {op("NQ."), "outside the pickle"},
		"PERSID":            {op("P0\n."), "outside the pickle"},
		"extension":         {op(opExt1, 1, "."), "extension codes"},
		"buffer":            {op(opNextBuffer, "."), "buffers outside"},
		"protocol 6":        {op(opProto, 6, "N."), "protocol 6"},
		"unknown opcode":    {op(0xff), "unknown opcode 0xff"},
		"empty stack":       {op("."), "stack is empty"},
		"below the mark":    {op("N(0."), ""},
		"pop below mark":    {op("N(a."), "stack is empty"},
		"no mark":           {op("Nt."), "no MARK"},
		"two values":        {op("NN."), "values are left"},
		"open mark":         {op("(N."), "values are left"},
		"unset memo":        {op("h\x05."), "memo 5 was never set"},
		"memo text":         {op("gx\n."), "not a number"},
		"bad int":           {op("Iabc\n."), "not an integer"},
		"bad float":         {op("Fabc\n."), "not a number"},
		"bad text":          {op(opShortBinUnicode, 1, 0xff, "."), "not UTF-8"},
		"bad string":        {op("Sabc\n."), "not a quoted string"},
		"bad escape":        {op("S'\\q'\n."), "unknown escape"},
		"bad raw unicode":   {op("V\\u12\n."), "escape does not end"},
		"huge length":       {op(opBinUnicode8, "\xff\xff\xff\xff\xff\xff\xff\xff"), "ends too early"},
		"huge frame":        {op(opFrame, "\xff\xff\xff\xff\xff\xff\xff\x7f"), "ends too early"},
		"many digits":       {op("L", strings.Repeat("9", 5000), "L\n."), "digits"},
		"class of OBJ":      {op("(No."), "not of a class"},
		"OBJ without class": {op("(o."), "no class"},
		"global no text":    {op("NN", opStackGlobal, "."), "not text"},
		"endless line":      {op("Iabc"), "line does not end"},
	} {
		_, _, err := Decode(c.data, Config{})
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		var where *Error
		require.ErrorAs(t, err, &where, name)
	}
	require.NoFileExists(t, "owned")
}

// TestLimits checks that small pickles cannot ask for much memory or time.
func TestLimits(t *testing.T) {
	for name, data := range map[string][]byte{
		"values":      append([]byte("("), []byte(strings.Repeat("]", 2<<20))...),
		"stack":       []byte("N" + strings.Repeat("2", 2<<20)),
		"marks":       []byte(strings.Repeat("(", 2<<20)),
		"memo":        memoFlood(2 << 20),
		"copied list": copiedList(1000),
		"tuple keys":  op("Nq\x00", string(repeatBytes(op("h\x00h\x00", opTuple2, "q\x00"), 40)), "q\x010}h\x01Ns."),
		"big key":     op("}", opLong4, "\x00\x80\x00\x00", strings.Repeat("\x7f", 0x8000), "Ns."),
	} {
		_, _, err := Decode(data, Config{})
		require.ErrorIs(t, err, ErrLimit, name)
	}
	// A value that contains itself, and one that is 2^40 values when written out, decode; Plain refuses them.
	cyclic, _, err := Decode(op("]q\x00h\x00a."), Config{})
	require.NoError(t, err)
	_, err = Plain(cyclic)
	require.ErrorIs(t, err, ErrLimit)
	laughs, _, err := Decode(op("Nq\x000", string(repeatBytes(op("h\x00h\x00", opTuple2, "q\x000"), 40)), "h\x00."), Config{})
	require.NoError(t, err)
	_, err = Plain(laughs)
	require.ErrorIs(t, err, ErrLimit)
}

func repeatBytes(b []byte, n int) []byte { return []byte(strings.Repeat(string(b), n)) }

// memoFlood puts one value into n memo places.
func memoFlood(n int) []byte {
	out := []byte("N")
	for i := range n {
		out = binary.LittleEndian.AppendUint32(append(out, opLongBinPut), uint32(i))
	}
	return append(out, '.')
}

// copiedList asks for n copies of a list of a thousand values.
func copiedList(n int) []byte {
	out := op("](", strings.Repeat("N", 1000), "eq\x000")
	for range n {
		out = append(out, op("cbuiltins\nlist\nh\x00", opTuple1, "R0")...)
	}
	return append(out, 'N', '.')
}

func TestConfig(t *testing.T) {
	cfg := Config{
		Call: func(class Global, args Tuple) (any, bool, error) {
			switch class.Name {
			case "pair":
				return len(args), true, nil
			case "fails":
				return nil, false, errors.New("no")
			}
			return nil, false, nil
		},
		Persistent: func(id any) (any, error) { return fmt.Sprint("data ", id), nil },
	}
	v, _, err := Decode(op("(cm\npair\nNN", opTuple2, "RK\x05QPtext\nt."), cfg)
	require.NoError(t, err)
	require.Equal(t, Tuple{2, "data 5", "data text"}, v)
	_, _, err = Decode(op("cm\nfails\n)R."), cfg)
	require.ErrorContains(t, err, "m.fails: no")
	v, _, err = Decode(op("cm\nother\n)R."), cfg)
	require.NoError(t, err)
	require.Equal(t, Global{"m", "other"}, v.(*Object).Class)
}

func TestPlain(t *testing.T) {
	raw := op("}(", opShortBinUnicode, 1, "a", "cargparse\nNamespace\n)R}", opShortBinUnicode, 2, "lr", "K\x02sb",
		"K\x07", "cpathlib\nPath\n", opShortBinUnicode, 1, "x", opTuple1, "R",
		opShortBinUnicode, 1, "g", "ctorch\nfloat32\n", opShortBinUnicode, 1, "b", "C\x01z", "u.")
	v, _, err := Decode(raw, Config{})
	require.NoError(t, err)
	p, err := Plain(v)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"a": map[string]any{"lr": int64(2)}, "7": `pathlib.Path("x")`, "g": "torch.float32", "b": []byte("z"),
	}, p)
}

func TestEncoderRoundTrip(t *testing.T) {
	var e Encoder
	e.Start()
	e.Mark()
	e.Ints([]int64{0, 255, 256, -1, math.MaxInt32, math.MinInt64, math.MaxInt64})
	require.NoError(t, e.String("text\nof lines"))
	e.Bool(true)
	e.Bool(false)
	e.Global(Global{"a", "b"})
	e.Global(Global{"a", "b"})
	e.EmptyTuple()
	e.Reduce()
	e.Tuple()
	v, _, err := Decode(e.Bytes(), Config{})
	require.NoError(t, err)
	require.Equal(t, Tuple{
		Tuple{int64(0), int64(255), int64(256), int64(-1), int64(math.MaxInt32), int64(math.MinInt64), int64(math.MaxInt64)},
		"text\nof lines", true, false, Global{"a", "b"}, &Object{Class: Global{"a", "b"}, Args: Tuple{}},
	}, v)
}

func TestDictOfUnhashableKeys(t *testing.T) {
	d := &Dict{}
	require.NoError(t, d.Set("a", int64(1)))
	require.Error(t, d.Set(&List{}, nil))
	v, ok := d.Get("a")
	require.True(t, ok)
	require.EqualValues(t, 1, v)
	_, ok = d.Get(&List{})
	require.False(t, ok)
}
