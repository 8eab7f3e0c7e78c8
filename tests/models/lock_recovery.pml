/*
 * The word of a HybridLock, and the recovery of one whose holder has died (shm/lock/wait.rs): three processes that
 * want the lock twice each, of which any two may die between any two of their steps. Each step is one access to what
 * they share.
 *
 * Shown: never two that live have the lock; nobody deadlocks, although a sleep ends by itself only once somebody has
 * died (a slice's end; without deaths each wake-up arrives); and nobody goes round for ever while nobody has the lock.
 *
 *   spin -a lock_recovery.pml && cc -O2 -o pan pan.c && ./pan          safety and deadlocks
 *   cc -O2 -DNP -o pan pan.c && ./pan -l -f                            no cycles without progress
 */

#define PROCESSES 3
#define TIMES 2
#define DEATHS 2
/* The word: 0 or the owner, and the bit that says that somebody may sleep. */
#define OWNER 7
#define SLEEPERS 8

byte word = 0;
byte posts = 0;
byte deaths = 0;
bool dead[PROCESSES + 1];
/* Living processes between lock and unlock. */
byte inside = 0;

inline may_die() {
	if
	:: atomic { deaths < DEATHS -> deaths++; dead[me] = true; goto died }
	:: true
	fi
}

proctype process(byte me) {
	byte seen, times;
	bool slept, woken;

	do
	:: times == TIMES -> break
	:: else ->
		slept = false;
		/* No proof is asked for before the first sleep. */
		woken = true;
attempt:
		may_die();
		seen = word;
		may_die();
		if
		:: (seen & OWNER) == 0 ->
			atomic {
				if
				:: word == seen -> word = me | (seen & SLEEPERS) | (slept -> SLEEPERS : 0); goto taken
				:: else -> goto attempt
				fi
			}
		:: else
		fi;
		/* Held. The proof of a death is final: who is found dead does nothing more. */
		if
		:: !woken && dead[seen & OWNER] ->
			atomic {
				if
				:: word == seen -> word = me | (seen & SLEEPERS) | (slept -> SLEEPERS : 0); goto taken
				:: else
				fi
			}
		:: else
		fi;
		may_die();
		atomic {
			if
			:: word == seen -> word = seen | SLEEPERS
			:: else -> goto attempt
			fi
		}
		may_die();
		if
		:: atomic { posts > 0 -> posts--; woken = true }
		:: deaths > 0 -> woken = false
		fi;
		slept = true;
		goto attempt;
taken:
		may_die();
progress:
		atomic { inside++; assert(inside == 1) }
		if
		:: atomic { deaths < DEATHS -> deaths++; dead[me] = true; inside--; goto died }
		:: inside--
		fi;
		may_die();
release:
		seen = word;
		assert((seen & OWNER) == me);
		may_die();
		atomic {
			if
			:: word == seen -> word = 0
			:: else -> goto release
			fi
		}
		may_die();
		if
		:: seen & SLEEPERS ->
			/* A wake-up that nobody has taken yet is enough. */
			if
			:: posts > 0
			:: posts == 0 -> may_die(); posts++
			fi
		:: else
		fi;
		times++
	od;
died:
	skip
}

init {
	atomic {
		byte number = 1;
		do
		:: number > PROCESSES -> break
		:: else -> run process(number); number++
		od
	}
}
