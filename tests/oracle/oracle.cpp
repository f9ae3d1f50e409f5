// What afserver does with an exclude mask, on the same std::regex: the judge of every mask and of every estimate.
//
// A request is a line of words:   <type> <rounds> <pattern> <name> <name> …
//   type     `find` or `regex`
//   rounds   how many times all names are matched, for a measurement, of which the quickest round counts: other
//            work on the machine can only add to the time; 1 if only the answer matters
//   pattern, names   in hexadecimal after an `x`, so that they may hold any byte but NUL
// The answer is a line:            <compiled> <states> <compile_ns> <match_ns> <verdicts> <error>
//   compiled   1, or 0 if std::regex threw: afserver would run the job unfenced
//   states     of the automaton, 0 for `find`
//   match_ns   for one name, averaged over the names
//   verdicts   `x` and for each name 1 if the job is kept off it, 0 if it may run there
#include <algorithm>
#include <chrono>
#include <iostream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

// The number of states is private. An explicit instantiation may name private members ([temp.spec]/6), so this reads it
// without changing the header.
template <typename Tag, typename Tag::type Member>
struct Opens
{
	friend typename Tag::type member(Tag) { return Member; }
};
struct Automaton
{
	typedef std::shared_ptr<const std::__detail::_NFA<std::regex::traits_type>> std::regex::*type;
	friend type member(Automaton);
};
template struct Opens<Automaton, &std::regex::_M_automaton>;

typedef std::chrono::steady_clock Clock;

static long long since(Clock::time_point start)
{
	return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

static std::string from_hex(const std::string & word)
{
	std::string bytes;
	for (size_t at = 1; at + 1 < word.size(); at += 2)
		bytes.push_back(static_cast<char>(std::stoi(word.substr(at, 2), nullptr, 16)));
	return bytes;
}

static std::vector<std::string> parts_of(const std::string & mask)
{
	std::vector<std::string> parts;
	std::string part;
	for (char c : mask + "|")
	{
		if (std::string("|;,: ").find(c) == std::string::npos)
		{
			part.push_back(c);
			continue;
		}
		if (part.size())
			parts.push_back(part);
		part.clear();
	}
	return parts;
}

// A job's mask. Its pattern is read before its type, by a mask that is still of the type `find` then: one that has
// nothing but separators is empty from then on, whatever type comes after.
struct Mask
{
	bool find, empty = false, compiled = true;
	std::string error;
	std::vector<std::string> parts;
	std::regex regex;
	size_t states = 0;

	Mask(const std::string & pattern, bool is_find) : find(is_find), parts(parts_of(pattern))
	{
		empty = parts.empty();
		if (find || empty)
			return;
		try
		{
			regex = std::regex(pattern);
			states = (regex.*member(Automaton()))->size();
		}
		catch (const std::regex_error & thrown)
		{
			compiled = false;
			error = thrown.what();
		}
	}

	bool excludes(const std::string & name) const
	{
		if (empty)
			return false;
		if (!find)
			return std::regex_match(name, regex);
		for (const std::string & part : parts)
			if (name.compare(0, part.size(), part) == 0)
				return true;
		return false;
	}
};

int main()
{
	std::ios::sync_with_stdio(false);
	for (std::string line; std::getline(std::cin, line);)
	{
		std::istringstream words(line);
		std::string type, pattern, name;
		int rounds;
		words >> type >> rounds >> pattern;
		std::vector<std::string> names;
		while (words >> name)
			names.push_back(from_hex(name));

		auto start = Clock::now();
		Mask mask(from_hex(pattern), type == "find");
		long long compile_ns = since(start);

		std::string verdicts = "x";
		long long quickest = 0;
		for (int round = 0; round < rounds; round++)
		{
			verdicts = "x";
			start = Clock::now();
			for (const std::string & one : names)
				verdicts.push_back(mask.excludes(one) ? '1' : '0');
			long long took = since(start);
			quickest = round ? std::min(quickest, took) : took;
		}
		long long each = names.empty() ? 0 : quickest / static_cast<long long>(names.size());
		std::cout << mask.compiled << ' ' << mask.states << ' ' << compile_ns << ' ' << each << ' ' << verdicts << ' '
		          << mask.error << std::endl;
	}
}
