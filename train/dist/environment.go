package dist

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Environment says which process of how many this is, and where they meet.
type Environment struct {
	Rank, World int
	LocalRank   int    // among the processes of this machine
	Host        string // of the store
	Port        int
	// AgentStore tells that the launcher runs the store (torchrun); otherwise
	// rank 0 does.
	AgentStore bool
	// Restarts counts how often the launcher has started the processes again.
	Restarts int
	// Launcher names where this was read from, LocalVariable the variable that
	// LocalRank comes from.
	Launcher, LocalVariable string
}

// launchers are the variables of each, looked for in this order.
var launchers = []struct{ name, rank, world, local, restarts string }{
	{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"}, // and PyTorchJob
	{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", ""},
	{"MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", ""},
	{"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_RESTART_COUNT"},
}

const (
	defaultPort = 29500 // torchrun's
	portRange   = 20000 // Slurm's jobs get ports of their own
)

// FromEnvironment reads the variables through getenv (os.Getenv). Without any, or
// for a single process, World is 1. It fails on variables that contradict each
// other or are missing, naming them.
func FromEnvironment(getenv func(string) string) (Environment, error) {
	one := Environment{World: 1, Launcher: "none"}
	for _, l := range launchers {
		if getenv(l.rank) == "" {
			continue
		}
		if l.name == "Slurm" && getenv("SLURM_STEP_ID") == "" {
			continue // sbatch itself, not srun: one process
		}
		e := Environment{Launcher: l.name, LocalVariable: l.local}
		var err error
		number := func(key string, otherwise int) int {
			text := getenv(key)
			if key == "" || text == "" {
				return otherwise
			}
			n, e := strconv.Atoi(text)
			if e != nil && err == nil {
				err = fmt.Errorf("dist: %s is %q, want a whole number", key, text)
			}
			return n
		}
		e.Rank, e.World, e.LocalRank = number(l.rank, 0), number(l.world, -1), number(l.local, 0)
		e.Restarts = number(l.restarts, 0)
		e.Port = number("MASTER_PORT", 0)
		switch {
		case err != nil:
			return one, err
		case e.World < 1:
			return one, fmt.Errorf("dist: %s is %s, but %s is %q, want at least 1", l.rank, getenv(l.rank), l.world, getenv(l.world))
		case e.Rank < 0 || e.Rank >= e.World:
			return one, fmt.Errorf("dist: %s is %d, want 0 to %d (%s is %d)", l.rank, e.Rank, e.World-1, l.world, e.World)
		case e.World == 1:
			e.Host, e.Port = "", 0
			return e, nil
		}
		e.AgentStore = getenv("TORCHELASTIC_USE_AGENT_STORE") == "True"
		return e, e.meet(getenv)
	}
	return one, nil
}

// meet settles where the store is.
func (e *Environment) meet(getenv func(string) string) error {
	e.Host = getenv("MASTER_ADDR")
	if e.Launcher == "Slurm" {
		if e.Host == "" {
			e.Host = firstHost(getenv("SLURM_STEP_NODELIST"))
		}
		if job, err := strconv.Atoi(getenv("SLURM_JOB_ID")); err == nil && e.Port == 0 {
			e.Port = 10000 + job%portRange
		}
	}
	if e.Port == 0 {
		e.Port = defaultPort
	}
	switch {
	case e.Host == "":
		return fmt.Errorf("dist: %d processes (%s), but MASTER_ADDR does not say where rank 0 is", e.World, e.Launcher)
	case e.Port < 1 || e.Port > 65535:
		return fmt.Errorf("dist: MASTER_PORT is %d, want 1 to 65535", e.Port)
	}
	return nil
}

// firstHost is the first of Slurm's list: node[003-005,9],other is node003.
func firstHost(list string) string {
	before, rest, ranges := strings.Cut(list, "[")
	if name, _, several := strings.Cut(before, ","); several {
		return name
	}
	if !ranges {
		return list
	}
	inside, after, _ := strings.Cut(rest, "]")
	after, _, _ = strings.Cut(after, ",")
	return before + inside[:min(len(inside), indexAny(inside, ",-"))] + after
}

func indexAny(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}

// Address is host:port of the store.
func (e *Environment) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
